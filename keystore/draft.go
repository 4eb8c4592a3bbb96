// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A draft is what one operation has written so far, or may have.
type draft struct {
	store *Store
	made  []p11.Certificate
}

// write creates an object, to the end also if ctx ends meanwhile, and reads it back.
func (d *draft) write(ctx context.Context, t p11.CertificateTemplate) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	longer, cancel := p11.Outlasting(ctx, undoTime)
	defer cancel()
	made, err := d.store.device.CreateCertificate(longer, t)
	if err != nil {
		// A token may have written it and failed to say so.
		d.made = append(d.made, p11.Certificate{Label: t.Label, ID: t.ID, Value: t.Value})
		return err
	}
	d.made = append(d.made, made)
	found, err := d.store.like(ctx, made)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%w: certificate %q is not there", ErrNotStored, t.Label)
	}
	return err
}

// settle writes one object more than is needed, and removes it, if one that was
// written may have been cut: see [p11.MayBeCut].
func (d *draft) settle(ctx context.Context, leaf *x509.Certificate) error {
	if !slices.ContainsFunc(d.made, func(c p11.Certificate) bool { return p11.MayBeCut(c.Value) }) {
		return nil
	}
	if err := d.write(ctx, issuerTemplate(leaf)); err != nil {
		return fmt.Errorf("%w: the token has no room left: %w", ErrNotStored, err)
	}
	last := len(d.made) - 1
	if err := d.store.remove(ctx, d.made[last]); err != nil {
		return err
	}
	d.made = d.made[:last]
	return nil
}

// withdraw removes what was written, the last first, also when ctx has ended.
// It stops where something cannot be removed, because what was written before
// may give sense to it.
func (d *draft) withdraw(ctx context.Context) error {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	for _, c := range slices.Backward(d.made) {
		if err := d.store.remove(ctx, c); err != nil {
			return fmt.Errorf("certificate %q could not be removed again: %w", c.Label, err)
		}
	}
	return d.store.giveBack(ctx, d.made)
}

// like returns the objects that are like c in name and content.
func (s *Store) like(ctx context.Context, c p11.Certificate) ([]p11.Certificate, error) {
	found, err := s.device.Certificates(ctx, p11.Filter{Label: c.Label, ID: c.ID})
	return slices.DeleteFunc(found, func(f p11.Certificate) bool { return !same(f, c) }), err
}

// same reports whether two objects are alike in all that matters.
func same(a, b p11.Certificate) bool {
	return a.Label == b.Label && bytes.Equal(a.ID, b.ID) && bytes.Equal(a.Value, b.Value)
}

// remove destroys one object, looking for it if its handle is not known or not
// good any more. What is not there need not be removed: another process may
// have been quicker.
func (s *Store) remove(ctx context.Context, c p11.Certificate) error {
	if c.Object != (p11.Object{}) && s.device.Destroy(ctx, c.Object) == nil {
		return nil
	}
	found, err := s.like(ctx, c)
	if err != nil || len(found) == 0 {
		return err
	}
	return s.device.Destroy(ctx, found[0].Object) // one only: a second is somebody else's
}
