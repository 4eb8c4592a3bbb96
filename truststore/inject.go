// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// Inject verifies chain[0] and then writes it to the token as a trusted entry
// under name. The rest of chain are issuers that are needed to reach an anchor;
// they are kept beside the entry and are not trusted for it. The anchor itself
// may be among them.
//
// A certificate that is not good is a [*RejectedError]: no chain to an anchor,
// out of date, for neither servers nor clients, against the profile, or
// [ErrUnrelated] to the others. An alias is the name of one certificate object
// on the token, whether that is an identity or an entry, and a certificate is an
// entry once: [ErrExists]. The same certificate under the same alias again
// changes nothing and is no error.
//
// Nothing is written before everything is checked. What is written is read back
// and compared: [ErrNotStored]. A device error, or a cancelled context, leaves
// the store as it was. Inject calls the token five to seven times, and up to
// three times more for each issuer.
func (s *Store) Inject(ctx context.Context, name string, chain ...*x509.Certificate) (_ Entry, err error) {
	defer wrap(&err, "inject", name)
	if err := alias.Check(name); err != nil {
		return Entry{}, err
	}
	if err := whole(chain); err != nil {
		return Entry{}, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	e, err := s.admit(name, chain)
	if err != nil {
		return Entry{}, err
	}
	if e, err = s.write(ctx, e); err != nil {
		return Entry{}, err
	}
	s.publish(s.snapshot().with(e))
	return e, nil
}

// admit decides whether chain[0] becomes an entry.
func (s *Store) admit(name string, chain []*x509.Certificate) (Entry, error) {
	if s.device == nil {
		return Entry{}, p11.ErrClosed
	}
	e, err := proof(chain[0], s.snapshot().issuers.above(chain), s.anchors, s.now())
	if err != nil {
		return Entry{}, err
	}
	for _, c := range chain[1:] {
		if !slices.ContainsFunc(e.Issuers, c.Equal) {
			return Entry{}, &RejectedError{c, ErrUnrelated}
		}
	}
	e.Alias = name
	return e, nil
}

// write brings an entry and its issuers to the token, unless they are there.
func (s *Store) write(ctx context.Context, e Entry) (_ Entry, err error) {
	w := writer{device: s.device}
	defer func() {
		if err != nil {
			w.undo(ctx)
		}
	}()
	if err := s.unclaimed(ctx, e); err != nil {
		return Entry{}, err
	}
	for _, t := range e.issuerTemplates() {
		if _, err := w.ensure(ctx, t); err != nil {
			return Entry{}, err
		}
	}
	o, err := w.ensure(ctx, e.template())
	if err != nil {
		return Entry{}, err
	}
	e.Private = o.Private
	// Another process may have had the same idea meanwhile.
	return e, s.unclaimed(ctx, e)
}

// unclaimed reports whether no other object has the alias of e, and no other
// entry its certificate.
func (s *Store) unclaimed(ctx context.Context, e Entry) error {
	want := e.template()
	named, err := s.device.Certificates(ctx, p11.Filter{Label: want.Label})
	if err != nil {
		return err
	}
	same, err := s.device.Certificates(ctx, p11.Filter{ID: want.ID})
	if err != nil {
		return err
	}
	for _, o := range named {
		if o.Label == want.Label && !is(o, want) {
			return fmt.Errorf("alias is %w", ErrExists)
		}
	}
	for _, o := range same {
		if bytes.Equal(o.Value, want.Value) && !alias.IsTrustIssuerLabel(o.Label) && !is(o, want) {
			return fmt.Errorf("certificate is %w as %q", ErrExists, o.Label)
		}
	}
	return nil
}
