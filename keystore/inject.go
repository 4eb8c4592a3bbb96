// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// undoTime bounds the end of a write that is under way, and the removal of what a
// failed one left behind, for which the caller's context no longer counts.
const undoTime = 10 * time.Second

func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoTime)
}

// Inject writes a new identity: chain[0] under the certificate alias, bound to
// the private key with the key alias, and the certificates of its issuers,
// which identities share. The chain may end below the root, and may have the
// leaf alone.
//
// Nothing is written unless every certificate is strong and valid now and
// signed by the next, the first is no CA and fit for TLS, and its public key is
// the key's ([ErrMismatch]); other refusals are a [*ChainError] or wrap
// [ErrChain]. An alias that names any certificate on the token is [ErrExists],
// unless it is this very identity: injecting the same thing twice is no error.
// [ErrAmbiguous] means that the token has a certificate of one of the issuers,
// from another CA, so that the wrong chain might be sent.
//
// The issuers are written first and the leaf last, each is read back and
// compared, and the identity is resolved; if anything fails, what was written
// is removed. A process that dies in between leaves issuers that nothing uses:
// see [Store.Clean].
func (s *Store) Inject(ctx context.Context, alias, keyAlias string, chain []*x509.Certificate) (err error) {
	defer wrap(&err, "inject", alias)
	return s.inject(ctx, alias, keyAlias, chain, checkLeaf)
}

// InjectAuthority is Inject for a key that issues certificates: chain[0] must be
// a CA that may sign certificates. It has a name of its own so that nobody
// gives a CA away as a terminal. Identity finds it under its alias; Certificate,
// which is for TLS, refuses it.
func (s *Store) InjectAuthority(ctx context.Context, alias, keyAlias string, chain []*x509.Certificate) (err error) {
	defer wrap(&err, "inject authority", alias)
	return s.inject(ctx, alias, keyAlias, chain, checkAuthority)
}

func (s *Store) inject(ctx context.Context, alias, keyAlias string, chain []*x509.Certificate, checkFirst func(*x509.Certificate) error) error {
	if err := s.ready(ctx, alias, keyAlias); err != nil {
		return err
	}
	if err := checkChainOf(chain, s.now(), checkFirst); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	key, err := s.keyByLabel(ctx, keyAlias)
	if err != nil {
		return fmt.Errorf("key %q: %w", keyAlias, err)
	}
	if !samePublic(chain[0].PublicKey, key.Public()) {
		return fmt.Errorf("%w: the certificate is not of key %q", ErrMismatch, keyAlias)
	}
	switch same, err := s.taken(ctx, alias, key, chain); {
	case err != nil || same:
		return err
	}
	defer s.cache.drop()
	return s.create(ctx, alias, key, chain)
}

// taken reports whether the identity is on the token already, or fails with
// ErrExists if the alias names anything else.
func (s *Store) taken(ctx context.Context, alias string, key *Key, chain []*x509.Certificate) (same bool, err error) {
	found, err := s.device.Certificates(ctx, p11.Filter{Label: alias})
	if err != nil || len(found) == 0 {
		return false, err
	}
	if distinct, _ := differing(found); len(distinct) == 1 && slices.Equal(found[0].ID, key.info.ID) && holds(found[0], chain[0]) {
		have, err := walk(ctx, chain[0], s.issuers)
		if err == nil && beginsWith(have, chain) {
			return true, nil
		}
	}
	return false, fmt.Errorf("%w by a %s", ErrExists, describe(found[0]))
}

// create writes a new identity and withdraws it unless it is found as meant.
func (s *Store) create(ctx context.Context, alias string, key *Key, chain []*x509.Certificate) (err error) {
	d := draft{store: s}
	defer func() {
		if err != nil {
			err = also(err, d.withdraw(ctx))
		}
	}()
	if err := s.writeIssuers(ctx, &d, chain[1:]); err != nil {
		return err
	}
	if err := d.write(ctx, leafTemplate(alias, key, chain[0])); err != nil {
		return err
	}
	if err := d.settle(ctx, chain[0]); err != nil {
		return err
	}
	found, err := s.device.Certificates(ctx, p11.Filter{Label: alias})
	if err != nil {
		return err
	}
	if len(found) > 1 {
		return fmt.Errorf("%w by a certificate written at the same moment", ErrExists)
	}
	return s.confirm(ctx, alias, chain)
}

// confirm fails unless the alias now leads to the chain.
func (s *Store) confirm(ctx context.Context, alias string, chain []*x509.Certificate) error {
	l, err := s.resolve(ctx, alias)
	if err != nil {
		return err
	}
	have, err := walk(ctx, l.cert, s.issuers)
	if err != nil {
		return err
	}
	if !beginsWith(have, chain) {
		return fmt.Errorf("%w: the token's certificates make another chain of it", ErrAmbiguous)
	}
	return nil
}

func leafTemplate(alias string, key *Key, cert *x509.Certificate) p11.CertificateTemplate {
	return p11.CertificateTemplate{
		Label:    alias,
		ID:       key.info.ID,
		Value:    cert.Raw,
		Category: p11.CategoryTokenUser,
	}
}

// writeIssuers writes those issuers that are not there.
func (s *Store) writeIssuers(ctx context.Context, d *draft, issuers []*x509.Certificate) error {
	for _, c := range issuers {
		if err := s.crossSigned(ctx, c); err != nil {
			return err
		}
		t := issuerTemplate(c)
		found, err := s.device.Certificates(ctx, p11.Filter{ID: t.ID})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(found, func(o p11.Certificate) bool { return holds(o, c) }) {
			continue
		}
		if err := d.write(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// crossSigned refuses a second certificate of one CA key from another issuer.
// Every chain through that key would be the same from here on, so that some
// identity would be sent with issuers it was not injected with.
func (s *Store) crossSigned(ctx context.Context, c *x509.Certificate) error {
	found, err := s.issuers(ctx, c.RawSubject)
	if err != nil {
		return err
	}
	for _, f := range found {
		if samePublic(f.PublicKey, c.PublicKey) && !bytes.Equal(f.RawIssuer, c.RawIssuer) {
			return &ChainError{c, fmt.Errorf("%w: the token has a certificate of the same CA from %q", ErrAmbiguous, f.Issuer)}
		}
	}
	return nil
}
