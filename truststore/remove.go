// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// Remove removes every object that claims to be an entry under an alias, whether
// it is trusted or rejected, and every one with the same certificate: what has
// been removed is not trusted under another name. Issuers that prove nothing any
// more go too, but for those of a CRL in the store, and an entry that has one there stays
// as an issuer, trusted for nothing: what it revokes stays revoked. If that cannot be
// written, nothing is removed. [ErrNotFound] means there is no such object; identities
// and foreign ones are not for Remove. [ErrNotStored] means the token still shows one.
// When Remove returns nil, or cannot read the token any more, the entry is not trusted.
//
// Remove calls the token five times: it lists the objects, removes, looks for an
// endorsement, and reads what is there now: the objects, and what is revoked. It is
// once more for each further object and for each issuer that goes too, and twice more
// if one does. For a CA it is once more, and thrice if it has a CRL. A token that reuses the handles of objects is read whole where
// another one lists.
func (s *Store) Remove(ctx context.Context, name string) (err error) {
	defer wrap(&err, "remove", name)
	if name == "" || alias.IsTrustIssuerLabel(name) {
		return ErrNotFound
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.device == nil {
		return p11.ErrClosed
	}
	now, err := s.survey(ctx)
	if err != nil {
		return err
	}
	claims := entryObjects(now.certificates, name)
	if len(claims) == 0 {
		return ErrNotFound
	}
	if err := s.keepRevokers(ctx, now, claims); err != nil {
		return err
	}
	err = s.removeAll(ctx, claims)
	s.publish(s.snapshot().without(name)) // also if the token cannot be read any more
	if err != nil {
		return errors.Join(err, s.refresh(ctx))
	}
	return errors.Join(s.dropEndorsements(ctx, claims), s.removed(ctx, name))
}

// keepRevokers writes the certificates again, as issuers, whose CRLs are in the store. A
// peer may bring such an issuer along, below another entry, and without it the CRL
// could not be verified after a restart.
func (s *Store) keepRevokers(ctx context.Context, now survey, claims []found) error {
	if !slices.ContainsFunc(claims, func(o found) bool { return o.cert != nil && o.cert.IsCA }) {
		return nil
	}
	if err := s.refreshWith(ctx, now); err != nil { // so that its CRLs are known
		return err
	}
	w, there := writer{store: s}, indexOf(now.certificates)
	for _, l := range s.snapshot().revocations.of(claims) {
		t := template(alias.TrustIssuerLabel(l.issuer.Raw), l.issuer, p11.CategoryAuthority)
		if _, kept := there.find(t); kept {
			continue
		}
		if err := w.keep(ctx, t, l.issuer); err != nil {
			return errors.Join(err, w.undo(ctx))
		}
	}
	return nil
}

// keep writes a certificate and looks whether the token has it.
func (w *writer) keep(ctx context.Context, t p11.CertificateTemplate, c *x509.Certificate) error {
	if err := w.create(ctx, t); err != nil {
		return err
	}
	if err := w.settle(ctx, c); err != nil {
		return err
	}
	now, err := w.store.survey(ctx)
	if err != nil {
		return err
	}
	if _, ok := indexOf(now.certificates).find(t); !ok {
		return fmt.Errorf("%w: %q", ErrNotStored, t.Label)
	}
	return nil
}

// removed looks whether the objects are gone, publishes what is there, and removes
// the issuers that are not needed any more.
func (s *Store) removed(ctx context.Context, name string) (err error) {
	now, err := s.survey(ctx)
	if err != nil {
		return err
	}
	if len(entryObjects(now.certificates, name)) > 0 {
		err = ErrNotStored
	}
	if failed := s.refreshWith(ctx, now); failed != nil { // so that its CRLs are known
		return errors.Join(err, failed)
	}
	if len(s.unneeded(now.certificates)) == 0 {
		return err
	}
	now, failed := s.sweep(ctx, now)
	if failed != nil {
		return errors.Join(err, failed, s.refresh(ctx))
	}
	return errors.Join(err, s.refreshWith(ctx, now))
}

// removeAll stops at the first object that cannot be removed.
func (s *Store) removeAll(ctx context.Context, objects []found) error {
	for _, o := range objects {
		if err := s.remove(ctx, o.Certificate); err != nil {
			return err
		}
	}
	return nil
}

// entryObjects returns the objects with an alias, and those with the certificate
// of one of these. An id alone may be a false claim. Those that contend with the
// entry come first, so that an interruption does not make an entry of one.
func entryObjects(all []found, name string) (objects []found) {
	type held struct {
		id  string
		sum fingerprint
	}
	named := map[held]bool{}
	for _, o := range all {
		if o.Label == name && alias.IsTrustID(o.ID) {
			named[held{string(o.ID), o.sum}] = true
		}
	}
	for _, o := range all {
		if named[held{string(o.ID), o.sum}] && !alias.IsTrustIssuerLabel(o.Label) {
			objects = append(objects, o)
		}
	}
	last := func(o found) int {
		switch {
		case o.Label != name:
			return 0
		case !o.Private:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(objects, func(a, b found) int { return cmp.Compare(last(a), last(b)) })
	return objects
}
