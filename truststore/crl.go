// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A CRL describes one that is in the store, or should be.
type CRL struct {
	ID         string // of the issuer's name and key, 16 hexadecimal digits
	Issuer     string // name of the issuer
	Number     *big.Int
	ThisUpdate time.Time // zero if the CRL is missing
	NextUpdate time.Time
	Revoked    int  // how many certificates it revokes
	Private    bool // only after login can it be removed

	// Err is nil for a CRL in order, else [ErrStaleCRL], [ErrNoCRL] or
	// [ErrVanished]. What follows from it says the [CRLPolicy].
	Err error
}

// InjectCRL verifies a CRL and then keeps it on the token, in the place of the one
// there is of the same issuer, which is one name with one key. From then on what
// it revokes is refused: as an entry, as a peer, and as an issuer of either.
//
// The issuer is an anchor, or a CA that the store knows as an entry or as an issuer
// of one. A [*CRLError] says why a CRL is refused: an unknown issuer or a wrong
// signature ([ErrCRLIssuer]), an issuer that is revoked, a rule that is broken, a
// CRL that is no complete one ([ErrDelta], [ErrIndirect], [ErrPartial]) or too
// large. [ErrOlder] is a number that goes back; the CRL that is there already
// changes nothing and is no error. A CRL past its nextUpdate is taken, as the
// newest there is.
//
// The new CRL is written and read back ([ErrNotStored]) before the old one is
// removed, so that there is a valid one at each moment. After a device error the
// old one is in force. Some tokens take no object as large as the CRL.
func (s *Store) InjectCRL(ctx context.Context, crl *x509.RevocationList) (_ CRL, err error) {
	defer wrap(&err, "inject CRL", "")
	if crl == nil {
		return CRL{}, &CRLError{Err: errCRLMissing}
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.device == nil {
		return CRL{}, p11.ErrClosed
	}
	now := s.snapshot()
	list, err := now.readCRL(crl.Raw, nil, s.now())
	if err == nil {
		err = cmp.Or(list.early(s.now()), s.mayRevoke(now, list))
	}
	if err != nil {
		return CRL{}, err
	}
	there, err := s.readRevocations(ctx, now)
	if err != nil {
		return CRL{}, err
	}
	if err := s.replaceCRL(ctx, there, list, crl.Raw); err != nil {
		return CRL{}, err
	}
	with := there.with(list)
	s.publish(now.revoking(with, s.now()))
	err = s.refresh(ctx)
	return s.snapshot().revocations.describe(list.id, s.now()), err
}

// mayRevoke refuses the CRL of an issuer that is revoked itself.
func (s *Store) mayRevoke(now *snapshot, list *revocationList) error {
	paths := [][]*x509.Certificate{{list.issuer}}
	if !slices.ContainsFunc(now.anchors.all, list.issuer.Equal) {
		var err error
		if paths, err = now.pathsOf(list.issuer, s.now()); err != nil {
			return &CRLError{list.issuer.Subject.String(), err}
		}
	}
	var refusal error
	for _, path := range paths {
		if refusal = now.revocations.revoked(path, s.now()); refusal == nil {
			return nil
		}
	}
	return &CRLError{list.issuer.Subject.String(), refusal}
}

// replaceCRL brings a CRL to the token, and then the record of it, before it
// removes what they take the place of. Whatever of this has happened, the highest
// number and the highest record are in force.
func (s *Store) replaceCRL(ctx context.Context, there *read, list *revocationList, der []byte) (err error) {
	if err := there.follows(list); err != nil {
		return err
	}
	w := dataWriter{device: s.device}
	crl, err := w.ensure(ctx, dataTemplate(alias.CRLLabel(list.id[:]), der))
	if err == nil {
		list.private = crl.Private
		err = s.mark(ctx, &w, there, crlMark{id: list.id, name: list.issuer.Subject.String(), number: list.number})
	}
	if err != nil {
		w.undo(ctx)
		return err
	}
	if err := s.clean(ctx, there, list.id, crl.Object); err != nil {
		s.log.WarnContext(ctx, "old revocation data stays on the token", "error", err)
	}
	return nil
}

// follows refuses a number that goes back.
func (r *read) follows(list *revocationList) error {
	highest := r.highest(list.id)
	if highest == nil || list.number.Cmp(highest) > 0 {
		return nil
	}
	present := r.lists[list.id]
	again := list.number.Cmp(highest) == 0 && (present == nil || present.digest == list.digest || present.number.Cmp(list.number) < 0)
	if !again {
		return &CRLError{list.issuer.Subject.String(), fmt.Errorf("%w: %v, and %v was there", ErrOlder, list.number, highest)}
	}
	return nil
}

// mark writes the record of a CRL, unless it is there. A token without private
// objects keeps none: anybody could write it.
func (s *Store) mark(ctx context.Context, w *dataWriter, there *read, m crlMark) error {
	old, known := there.marks[m.id]
	if known && old.removed == m.removed && old.number.Cmp(m.number) == 0 && !old.lost {
		return nil
	}
	m.sequence = old.sequence + 1
	t, err := m.template()
	if err != nil {
		return err
	}
	d, err := w.ensure(ctx, t)
	if err != nil {
		return err
	}
	if !d.Private {
		w.written = w.written[:len(w.written)-1]
		return s.device.Destroy(ctx, d.Object)
	}
	m.object = d.Object
	there.marks[m.id] = m
	if known && !old.lost {
		there.stale = append(there.stale, old.object)
	}
	return nil
}

// clean removes what newer objects have taken the place of. What it leaves is for
// the next time: it is not in force.
func (s *Store) clean(ctx context.Context, there *read, id issuerID, but p11.Object) error {
	objects := there.stale
	for _, o := range there.objects {
		if o.id == id && o.object != but {
			objects = append(objects, o.object)
		}
	}
	if len(objects) == 0 {
		return nil
	}
	return s.device.Destroy(ctx, objects...)
}

// RemoveCRL removes the CRL of an issuer by [CRL].ID, so that what it revokes is
// trusted again; the certificates may still be on the deny-list. Its number is
// kept: an older CRL of the issuer is not taken afterwards. [ErrNotFound] means
// that there is no such CRL, and that none is missing.
func (s *Store) RemoveCRL(ctx context.Context, id string) (err error) {
	defer wrap(&err, "remove CRL", id)
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.device == nil {
		return p11.ErrClosed
	}
	there, err := s.readRevocations(ctx, s.snapshot())
	if err != nil {
		return err
	}
	m, ok := there.removal(id)
	if !ok {
		return ErrNotFound
	}
	w := dataWriter{device: s.device}
	if err := s.mark(ctx, &w, there, m); err != nil {
		w.undo(ctx)
		return err
	}
	if err := s.clean(ctx, there, m.id, p11.Object{}); err != nil {
		return errors.Join(err, s.refresh(ctx))
	}
	now := *s.snapshot()
	now.revocations = now.revocations.without(m.id)
	s.publish(&now)
	return s.refresh(ctx)
}

// removal returns the record that the CRL with an id has been removed.
func (r *read) removal(id string) (crlMark, bool) {
	for known, l := range r.lists {
		if known.String() == strings.ToLower(id) {
			return crlMark{id: known, name: l.issuer.Subject.String(), number: r.highest(known), removed: true}, true
		}
	}
	for known, m := range r.missing {
		if known.String() == strings.ToLower(id) {
			return crlMark{id: known, name: m.name, number: m.number, removed: true}, true
		}
	}
	return crlMark{}, false
}

// CRLs returns the CRLs in the store and those that should be, by issuer. It does
// not reach the token.
func (s *Store) CRLs() []CRL {
	if s.now == nil {
		return nil
	}
	return s.snapshot().revocations.report(s.now())
}

func (r *revocations) report(at time.Time) (all []CRL) {
	if r == nil {
		return nil
	}
	for id := range r.lists {
		all = append(all, r.describe(id, at))
	}
	for id := range r.missing {
		if r.lists[id] == nil {
			all = append(all, r.describe(id, at))
		}
	}
	sortCRLs(all)
	return all
}

func (r *revocations) describe(id issuerID, at time.Time) CRL {
	m, missing := r.missing[id]
	l := r.lists[id]
	if l == nil {
		return CRL{ID: id.String(), Issuer: m.name, Number: m.number, Err: ErrNoCRL}
	}
	c := CRL{
		ID: id.String(), Issuer: l.issuer.Subject.String(), Number: l.number, ThisUpdate: l.thisUpdate,
		NextUpdate: l.nextUpdate, Revoked: len(l.revoked), Private: l.private,
	}
	switch {
	case missing:
		c.Err = fmt.Errorf("%w: number %v was there", ErrNoCRL, m.number)
	case l.lost:
		c.Err = ErrVanished
	case at.After(l.nextUpdate):
		c.Err = ErrStaleCRL
	}
	return c
}
