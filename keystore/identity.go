// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	names "github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// An Identity is a certificate with its issuers and its private key. It is
// immutable and safe for concurrent use; what its fields point to must not be
// modified.
type Identity struct {
	// Alias is the certificate alias.
	Alias string

	// Key is the private key. Its Info has the key alias.
	Key *Key

	// Chain is the leaf and all of its issuers that are on the token, each
	// signed by the next, the root included if it is there.
	Chain []*x509.Certificate

	certificate tls.Certificate
}

// Certificate returns the identity for crypto/tls, without reaching the token.
// Its chain leaves out a self-signed root, which a peer has or does not trust
// (RFC 5246 section 7.4.2). Its private key is Key, and
// SupportedSignatureAlgorithms, which is never empty, has what the token can do
// with it: without it crypto/tls would promise RSA-PSS for every RSA key.
func (i *Identity) Certificate() tls.Certificate { return i.certificate }

func newIdentity(alias string, key *Key, chain []*x509.Certificate) *Identity {
	id := &Identity{Alias: alias, Key: key, Chain: chain}
	id.certificate = tls.Certificate{
		PrivateKey:                   key,
		Leaf:                         chain[0],
		SupportedSignatureAlgorithms: tlsSchemes(key.schemes),
	}
	for n, c := range chain {
		if n == 0 || !selfSigned(c) {
			id.certificate.Certificate = append(id.certificate.Certificate, c.Raw)
		}
	}
	return id
}

// Identity returns the identity with that certificate alias, resolved as the
// package comment says. The validity period is not looked at. Errors are those
// of Key, where [ErrNotFound] means the certificate and [ErrMismatch] also a
// certificate without a private key, and [*ChainError] for a certificate that
// is weak, unreadable, or under too many issuers.
//
// The result is kept: the token is asked the first time, after a write by this
// Store, and after Refresh, and an error is not kept. Goroutines that ask for
// the same alias meanwhile wait for one answer.
func (s *Store) Identity(ctx context.Context, alias string) (_ *Identity, err error) {
	defer wrap(&err, "open identity", alias)
	if err := s.ready(ctx, alias); err != nil {
		return nil, err
	}
	return s.cache.get(ctx, alias, s.load)
}

// Certificate returns Identity(ctx, alias).Certificate(), which makes a Store a
// source of keys for package hsmtls. The struct is the caller's to change; what
// its fields point to is shared. The certificate of a CA is [ErrChain].
func (s *Store) Certificate(ctx context.Context, alias string) (*tls.Certificate, error) {
	id, err := s.Identity(ctx, alias)
	if err != nil {
		return nil, err
	}
	if leaf := id.Chain[0]; leaf.IsCA {
		err := fmt.Errorf("%w: it is a CA, not a party of TLS", ErrChain)
		wrap(&err, "open identity", alias)
		return nil, err
	}
	c := id.Certificate()
	return &c, nil
}

// load resolves an alias on the token. A chain that does not end at a root may
// have lost its end to a replacement that was at work meanwhile, so the
// certificate must still be there afterwards: a replacement removes it before it
// removes issuers.
func (s *Store) load(ctx context.Context, alias string) (*Identity, error) {
	for range maxTries {
		l, err := s.resolve(ctx, alias)
		if err != nil {
			return nil, err
		}
		id, err := s.assemble(ctx, alias, l)
		if err == nil && selfSigned(id.Chain[len(id.Chain)-1]) {
			return id, nil
		}
		there, lost := s.stillThere(ctx, l.Certificate)
		if there || lost != nil {
			return id, cmp.Or(lost, err)
		}
	}
	return nil, fmt.Errorf("%w: it changes faster than it can be read", ErrAmbiguous)
}

// stillThere asks for the object by its handle, which is not a search. Tokens that
// use handles again may show another one.
func (s *Store) stillThere(ctx context.Context, c p11.Certificate) (bool, error) {
	found, err := s.device.ReadCertificates(ctx, []p11.Object{c.Object})
	if errors.Is(err, p11.ErrStale) {
		return false, nil
	}
	return slices.ContainsFunc(found, func(f p11.Certificate) bool { return same(f, c) }), err
}

// assemble finds key and issuers of a certificate.
func (s *Store) assemble(ctx context.Context, alias string, l leaf) (*Identity, error) {
	if err := checkStrong(l.cert); err != nil {
		return nil, &ChainError{l.cert, err}
	}
	key, err := s.keyFor(ctx, l)
	if err != nil {
		return nil, err
	}
	chain, err := walk(ctx, l.cert, s.issuers)
	if err != nil {
		return nil, err
	}
	return newIdentity(alias, key, chain), nil
}

// An IdentityInfo describes a certificate that is, or claims to be, of a key on
// the token.
type IdentityInfo struct {
	Alias    string // CKA_LABEL of the certificate
	KeyAlias string // CKA_LABEL of the private key; empty if there is none

	// Chain is the leaf, which has subject, issuer, serial number and dates,
	// and its issuers that are on the token. It is empty if the leaf cannot be
	// parsed.
	Chain []*x509.Certificate

	// Problem is why Identity would refuse it, or why peers will: a certificate
	// that is not valid now is an [x509.CertificateInvalidError]. Nil means that
	// nothing is known against it. No test signature is made, so a public half on the
	// token that is not the certificate's is a problem here, and none to Identity if
	// the private half signs well.
	Problem error
}

// Identities lists the certificates that have the CKA_ID of a private key, and
// those marked as the token owner's that have not, in no particular order. What
// an interrupted replacement has left is not among them: see [Store.Leftovers]. Copies
// are listed once. It reads every certificate and private key of the token.
func (s *Store) Identities(ctx context.Context) (_ []IdentityInfo, err error) {
	defer wrap(&err, "list identities", "")
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	keys, err := s.device.Keys(ctx, p11.Filter{})
	if err != nil {
		return nil, err
	}
	all, err := s.device.Certificates(ctx, p11.Filter{})
	if err != nil {
		return nil, err
	}
	superseded, _ := interrupted(all)
	_, copies := differing(all)
	hidden := slices.Concat(superseded, copies)
	all = slices.DeleteFunc(all, func(c p11.Certificate) bool {
		return slices.ContainsFunc(hidden, func(o p11.Certificate) bool { return o.Object == c.Object })
	})
	token := inventory{keys: keys, certificates: all, issuers: among(all)}
	var infos []IdentityInfo
	for _, c := range all {
		if mine := token.keysOf(c); claims(c, mine) {
			infos = append(infos, s.describeIdentity(ctx, c, mine, token))
		}
	}
	return infos, nil
}

// An inventory is what is on the token.
type inventory struct {
	keys         []p11.Key
	certificates []p11.Certificate
	issuers      finder
}

// claims reports whether an object with those keys wants to be an identity.
func claims(c p11.Certificate, keys []p11.Key) bool {
	return !setAside(c) && (len(keys) > 0 || c.Category == p11.CategoryTokenUser)
}

// keysOf returns the private keys with the CKA_ID of a certificate object.
func (v inventory) keysOf(c p11.Certificate) (mine []p11.Key) {
	for _, k := range v.keys {
		if len(c.ID) > 0 && string(k.ID) == string(c.ID) {
			mine = append(mine, k)
		}
	}
	return mine
}

func (s *Store) describeIdentity(ctx context.Context, c p11.Certificate, mine []p11.Key, token inventory) IdentityInfo {
	info := IdentityInfo{Alias: c.Label}
	if len(mine) == 1 {
		info.KeyAlias = mine[0].Label
	}
	cert, err := x509.ParseCertificate(c.Value)
	if err != nil {
		info.Problem = &ChainError{Err: err}
		return info
	}
	info.Chain, info.Problem = walk(ctx, cert, token.issuers)
	if info.Problem != nil {
		info.Chain = []*x509.Certificate{cert}
	}
	if err := s.identityProblem(c, cert, mine, token); err != nil {
		info.Problem = err
	}
	return info
}

// identityProblem is what is wrong with an identity apart from its issuers.
func (s *Store) identityProblem(c p11.Certificate, cert *x509.Certificate, mine []p11.Key, token inventory) error {
	if twins := token.twins(c); len(twins) > 1 {
		return ambiguousCertificates(twins)
	}
	if err := names.Check(c.Label); err != nil {
		return err
	}
	if err := checkStrong(cert); err != nil {
		return &ChainError{cert, err}
	}
	switch {
	case len(mine) == 0:
		return fmt.Errorf("%w: no private key has the certificate's CKA_ID", ErrMismatch)
	case mine[0].Public != nil && !samePublic(mine[0].Public, cert.PublicKey):
		return fmt.Errorf("%w: the private key has another public key", ErrMismatch)
	}
	if err := s.keyProblem(mine[0], mine); err != nil {
		return err
	}
	return checkDates(cert, s.now())
}

// twins returns the certificates that have the label of c, c included.
func (v inventory) twins(c p11.Certificate) (twins []p11.Certificate) {
	for _, other := range v.certificates {
		if other.Label == c.Label && !setAside(other) {
			twins = append(twins, other)
		}
	}
	return twins
}
