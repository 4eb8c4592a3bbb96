// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	names "github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// Key returns the private key with that key alias, after looking at what the
// token says of it and, the first time, at a test signature. Errors:
// [ErrNotFound], [ErrAmbiguous] if several private keys have the alias or the
// CKA_ID, [ErrMismatch] if the key has no CKA_ID or its halves do not belong
// together, [ErrExtractable], [ErrWeak],
// [ErrUnsupported], or a device error. Keys are not cached: each call reaches
// the token.
func (s *Store) Key(ctx context.Context, alias string) (_ *Key, err error) {
	defer wrap(&err, "open key", alias)
	if err := s.ready(ctx, alias); err != nil {
		return nil, err
	}
	return s.keyByLabel(ctx, alias)
}

func (s *Store) keyByLabel(ctx context.Context, label string) (*Key, error) {
	k, err := s.oneKey(ctx, p11.Filter{Label: label})
	if err != nil {
		return nil, err
	}
	if err := s.admit(k); err != nil {
		return nil, err
	}
	public := k.Public
	if public == nil {
		if public, err = s.certifiedKey(ctx, k.ID); err != nil {
			return nil, err
		}
	}
	return s.open(ctx, k, public)
}

// oneKey returns the only private key that matches.
func (s *Store) oneKey(ctx context.Context, f p11.Filter) (p11.Key, error) {
	found, err := s.device.Keys(ctx, f)
	switch {
	case err != nil:
		return p11.Key{}, err
	case len(found) == 0:
		return p11.Key{}, fmt.Errorf("private key is %w", ErrNotFound)
	case len(found) > 1:
		return p11.Key{}, ambiguousKeys(found)
	}
	return found[0], nil
}

// certifiedKey finds the public key of a private key whose public half is not
// on the token in a certificate with its CKA_ID. The proof has the last word.
func (s *Store) certifiedKey(ctx context.Context, id []byte) (crypto.PublicKey, error) {
	found, err := s.device.Certificates(ctx, p11.Filter{ID: id})
	if err != nil {
		return nil, err
	}
	for _, c := range found {
		if cert, err := x509.ParseCertificate(c.Value); err == nil {
			return cert.PublicKey, nil
		}
	}
	return nil, fmt.Errorf("%w: the token has no public half of the key, and no certificate", ErrMismatch)
}

// open makes a Key of a key object whose public half is public.
func (s *Store) open(ctx context.Context, k p11.Key, public crypto.PublicKey) (*Key, error) {
	if err := s.admit(k); err != nil {
		return nil, err
	}
	schemes, err := schemesFor(public, s.device.Mechanisms())
	if err != nil {
		return nil, err
	}
	signer, err := s.device.Signer(ctx, k.ID, public)
	if err != nil {
		return nil, signerError(err)
	}
	if err := s.prove(ctx, k, signer, schemes[0]); err != nil {
		return nil, err
	}
	return &Key{info: s.infoOf(k, public), schemes: schemes, signer: signer}, nil
}

// maxTries is how often something is read that another process may be writing.
const maxTries = 4

// A leaf is a certificate object that an alias names.
type leaf struct {
	p11.Certificate
	cert *x509.Certificate
}

// resolve returns the certificate that alias names.
func (s *Store) resolve(ctx context.Context, alias string) (leaf, error) {
	object, _, err := s.choose(ctx, alias)
	if err != nil {
		return leaf{}, err
	}
	return parseLeaf(object)
}

func parseLeaf(object p11.Certificate) (leaf, error) {
	cert, err := x509.ParseCertificate(object.Value)
	if err != nil {
		return leaf{}, &ChainError{Err: fmt.Errorf("the token holds no certificate: %w", err)}
	}
	return leaf{object, cert}, nil
}

// choose returns the certificate object that alias names, and those that an
// interrupted replacement has left beside it. None, or two without a note, are
// looked for again: a replacement may have removed the old certificate between
// the token's finding it and reading it, or the note after the two were seen.
// Copies, which two processes make that do the same thing at once, count as one.
func (s *Store) choose(ctx context.Context, alias string) (c p11.Certificate, superseded []p11.Certificate, err error) {
	for try := 1; ; try++ {
		found, err := s.candidates(ctx, alias)
		distinct, copies := differing(found)
		switch {
		case err != nil:
			return p11.Certificate{}, nil, err
		case len(distinct) == 1:
			return distinct[0], copies, nil
		case len(found) == 0 && try == maxTries:
			return p11.Certificate{}, nil, fmt.Errorf("certificate is %w", ErrNotFound)
		case len(found) == 0:
			continue
		}
		chosen, noted, err := s.noted(ctx, alias, distinct)
		switch {
		case err != nil:
			return p11.Certificate{}, nil, err
		case noted:
			return chosen, allBut(chosen, found), nil
		case try == maxTries:
			return p11.Certificate{}, nil, ambiguousCertificates(distinct)
		}
	}
}

// differing sets apart objects that are the same as one before in everything.
func differing(found []p11.Certificate) (distinct, copies []p11.Certificate) {
	type content struct{ label, id, value string }
	seen := map[content]bool{}
	for _, c := range found {
		what := content{c.Label, string(c.ID), string(c.Value)}
		if seen[what] {
			copies = append(copies, c)
			continue
		}
		seen[what] = true
		distinct = append(distinct, c)
	}
	return distinct, copies
}

func allBut(chosen p11.Certificate, found []p11.Certificate) (rest []p11.Certificate) {
	for _, c := range found {
		if c.Object != chosen.Object {
			rest = append(rest, c)
		}
	}
	return rest
}

// candidates returns the certificate objects that alias may name.
func (s *Store) candidates(ctx context.Context, alias string) ([]p11.Certificate, error) {
	found, err := s.device.Certificates(ctx, p11.Filter{Label: alias})
	if err != nil {
		return nil, err
	}
	var own []p11.Certificate
	for _, c := range found {
		if !setAside(c) {
			own = append(own, c)
		}
	}
	return own, nil
}

// setAside reports whether an object is one of those that are never meant by
// the alias of an identity.
func setAside(c p11.Certificate) bool {
	return names.IsTrustID(c.ID) || names.IsIssuerID(c.ID) || isNoteID(c.ID)
}

// keyFor returns the private key to which a certificate is bound. The public half is
// asked for only if the key does not do: the certificate has it, and the proof shows
// that it is the one.
func (s *Store) keyFor(ctx context.Context, l leaf) (*Key, error) {
	if len(l.ID) == 0 {
		return nil, fmt.Errorf("%w: the certificate has no CKA_ID", ErrMismatch)
	}
	found, err := s.device.PrivateKeys(ctx, p11.Filter{ID: l.ID})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("%w: no private key has the certificate's CKA_ID %x", ErrMismatch, l.ID)
	case len(found) > 1:
		return nil, ambiguousKeys(found)
	}
	if a := found[0].Algorithm; a != x509.UnknownPublicKeyAlgorithm && a != l.cert.PublicKeyAlgorithm {
		return nil, fmt.Errorf("%w: the certificate is of a key for %v, and the key with its CKA_ID for %v", ErrMismatch, l.cert.PublicKeyAlgorithm, a)
	}
	key, err := s.open(ctx, found[0], l.cert.PublicKey)
	if err != nil {
		return nil, s.misfit(ctx, l, err)
	}
	return key, nil
}

// misfit returns what is wrong with a certificate whose key could not be opened: its
// public half is another one, or else err.
func (s *Store) misfit(ctx context.Context, l leaf, err error) error {
	if errors.As(err, new(*p11.UnavailableError)) {
		return err
	}
	found, look := s.device.Keys(ctx, p11.Filter{ID: l.ID})
	if look != nil || len(found) != 1 || found[0].Public == nil || samePublic(found[0].Public, l.cert.PublicKey) {
		return err
	}
	return fmt.Errorf("%w: key %q has the certificate's CKA_ID and another public key", ErrMismatch, found[0].Label)
}

func ambiguousKeys(found []p11.Key) error {
	list := make([]string, len(found))
	for i, k := range found {
		list[i] = fmt.Sprintf("private key %q with CKA_ID %s", k.Label, hex.EncodeToString(k.ID))
	}
	return fmt.Errorf("%w: %s", ErrAmbiguous, strings.Join(list, "; "))
}

func ambiguousCertificates(found []p11.Certificate) error {
	list := make([]string, len(found))
	for i, c := range found {
		list[i] = describe(c)
	}
	return fmt.Errorf("%w: %s", ErrAmbiguous, strings.Join(list, "; "))
}

// describe tells one certificate object from another, for a person.
func describe(c p11.Certificate) string {
	cert, err := x509.ParseCertificate(c.Value)
	if err != nil {
		return fmt.Sprintf("unreadable certificate %q with CKA_ID %x", c.Label, c.ID)
	}
	return fmt.Sprintf("certificate of %q, serial %x, issued by %q, with CKA_ID %x", cert.Subject, cert.SerialNumber, cert.Issuer, c.ID)
}

// holds reports whether an object holds exactly that certificate.
func holds(c p11.Certificate, cert *x509.Certificate) bool { return bytes.Equal(c.Value, cert.Raw) }
