// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// undoTime bounds the end of a write that is under way, and the removal of what a
// failed one left behind, for which the caller's context no longer counts.
const undoTime = 10 * time.Second

// Inject verifies chain[0] and then writes it to the token as a trusted entry
// under name. The rest of chain are issuers that are needed to reach an anchor;
// they are kept beside the entry and are not trusted for it. The anchor itself
// may be among them.
//
// A certificate that is not good is a [*RejectedError]: no chain to an anchor,
// out of date, revoked, for neither servers nor clients, against the profile, or
// [ErrUnrelated] to the others. An alias is the name of one certificate object
// on the token, whether that is an identity or an entry, and a certificate is an
// entry once: [ErrExists]. The same certificate under the same alias again
// changes nothing and is no error.
//
// Nothing is written before everything is checked. What is written is read back
// and compared: [ErrNotStored]. A device error, or a cancelled context, leaves
// the store as it was; a write that is under way then is waited for, ten seconds at
// most, and undone. The entry is written last, so that a process that dies in
// between leaves at most issuers that prove nothing: see [Store.Clean].
//
// On a token that never reuses the handle of an object, Inject calls the token four
// times: it lists the objects, writes, lists them again and reads the new one. With
// issuers that are not there yet it is once more for each, and twice more. Another
// token is asked for the alias, the certificate and each issuer where that one lists.
// Certificates longer than a page take two calls more, and CRLs that could not be
// verified yet one.
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
	now, e, err := s.stand(ctx, e, chain)
	if err != nil {
		return Entry{}, err
	}
	return s.bring(ctx, now, e)
}

// bring makes what was admitted an entry on the token and in this store, which knows
// what now knows.
func (s *Store) bring(ctx context.Context, now *snapshot, e Entry) (_ Entry, err error) {
	if e, err = s.write(ctx, e); err != nil {
		return Entry{}, err
	}
	s.publish(now.with(e))
	return e, nil
}

// admit decides whether chain[0] becomes an entry.
func (s *Store) admit(name string, chain []*x509.Certificate) (Entry, error) {
	if s.device == nil {
		return Entry{}, p11.ErrClosed
	}
	e, err := proof(chain[0], s.snapshot().issuers.above(chain), s.snapshot().anchors, s.now())
	if err != nil {
		return Entry{}, err
	}
	for _, c := range chain[1:] {
		if !slices.ContainsFunc(e.Issuers, c.Equal) {
			return Entry{}, &RejectedError{c, ErrUnrelated}
		}
	}
	e.Alias = name
	return s.snapshot().standing(e, s.snapshot().revocations, chain, s.now())
}

// write brings an entry and its issuers to the token, unless they are there.
func (s *Store) write(ctx context.Context, e Entry) (_ Entry, err error) {
	w := writer{store: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.undo(ctx))
		}
	}()
	there, err := s.look(ctx, e)
	if err != nil {
		return Entry{}, err
	}
	if err := there.unclaimed(e); err != nil {
		return Entry{}, err
	}
	if there, err = w.keepIssuers(ctx, e, there); err != nil {
		return Entry{}, err
	}
	if _, ok := there.find(e.template()); ok {
		return there.kept(e)
	}
	if err := w.create(ctx, e.template()); err != nil {
		return Entry{}, err
	}
	if err := w.settle(ctx, e.Certificate); err != nil {
		return Entry{}, err
	}
	if there, err = s.look(ctx, e); err != nil {
		return Entry{}, err
	}
	return there.kept(e)
}

// keepIssuers writes the issuers that are missing, and looks whether they are kept:
// an entry must not be there without them.
func (w *writer) keepIssuers(ctx context.Context, e Entry, there index) (index, error) {
	missing := there.missing(e)
	if len(missing) == 0 {
		return there, nil
	}
	for _, t := range missing {
		if err := w.create(ctx, t); err != nil {
			return there, err
		}
	}
	there, err := w.store.look(ctx, e)
	if err == nil && len(there.missing(e)) > 0 {
		err = ErrNotStored
	}
	return there, err
}
