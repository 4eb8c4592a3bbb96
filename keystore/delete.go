// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// DeleteKey destroys the key pair with that key alias, for good. It refuses
// with [ErrInUse] while any certificate on the token has the key's CKA_ID:
// delete those first. Other errors: [ErrNotFound], [ErrAmbiguous], or a device
// error. A key that this package would not use can be deleted.
func (s *Store) DeleteKey(ctx context.Context, alias string) (err error) {
	defer wrap(&err, "delete key", alias)
	if err := s.ready(ctx, alias); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	k, err := s.oneKey(ctx, p11.Filter{Label: alias})
	if err != nil {
		return err
	}
	if err := s.unused(ctx, k); err != nil {
		return err
	}
	defer s.cache.drop() // an identity that another process has deleted may be kept
	return s.destroyKey(ctx, k)
}

// destroyKey destroys the private half, from which moment the key is gone, then
// what is left of the pair, which is what an interruption leaves.
func (s *Store) destroyKey(ctx context.Context, k p11.Key) error {
	err := s.device.Destroy(ctx, k.Objects()...)
	left, look := s.device.Keys(ctx, p11.Filter{Label: k.Label, ID: k.ID})
	switch {
	case look != nil:
		return also(look, err)
	case len(left) == 0 && err != nil && len(k.ID) > 0:
		return s.discard(ctx, k.ID) // the other half
	case err == nil && slices.ContainsFunc(left, func(o p11.Key) bool { return o.Object == k.Object }):
		return fmt.Errorf("%w: the key is still there", ErrNotStored)
	}
	return err
}

// unused fails if something on the token needs the key. A key without CKA_ID
// has no certificates.
func (s *Store) unused(ctx context.Context, k p11.Key) error {
	if len(k.ID) == 0 {
		return nil
	}
	twins, err := s.device.Keys(ctx, p11.Filter{ID: k.ID})
	if err != nil {
		return err
	}
	if len(twins) > 1 { // the public half would be the other's too
		return ambiguousKeys(twins)
	}
	users, err := s.device.Certificates(ctx, p11.Filter{ID: k.ID})
	if err != nil || len(users) == 0 {
		return err
	}
	labels := make([]string, len(users))
	for i, c := range users {
		labels[i] = fmt.Sprintf("%q", c.Label)
	}
	return fmt.Errorf("%w by %s", ErrInUse, strings.Join(labels, ", "))
}

// DeleteCertificate removes the certificate with that alias, then the issuers
// that no other certificate on the token needs. The private key stays. The
// certificate need not be readable nor of a key that exists. A trusted entry is
// not found here. Errors: [ErrNotFound], [ErrAmbiguous], or a device error; one
// that comes after the certificate has gone says so.
func (s *Store) DeleteCertificate(ctx context.Context, alias string) (err error) {
	defer wrap(&err, "delete certificate", alias)
	if err := s.ready(ctx, alias); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	c, superseded, err := s.choose(ctx, alias)
	if err != nil {
		return err
	}
	defer s.cache.drop()
	// The one that counts goes last: until then it is found.
	for _, c := range append(superseded, c) {
		if err := s.remove(ctx, c); err != nil {
			return err
		}
	}
	left, err := s.candidates(ctx, alias)
	if err == nil && slices.ContainsFunc(left, func(o p11.Certificate) bool { return o.Object == c.Object }) {
		return fmt.Errorf("%w: the certificate is still there", ErrNotStored)
	}
	if err == nil {
		err = s.removeNotes(ctx, alias, nil)
	}
	if err == nil {
		err = s.sweep(ctx)
	}
	if err != nil {
		return fmt.Errorf("the certificate is deleted, but not all that went with it: %w", err)
	}
	return nil
}
