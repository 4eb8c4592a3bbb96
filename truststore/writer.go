// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A writer writes objects and remembers them, to take them back. It does not
// believe the token: a token on a full disk has been seen to report success. So who
// uses it looks afterwards what is there.
type writer struct {
	store   *Store
	written []found // or what may have been
}

// create writes an object, to the end also if ctx ends meanwhile.
func (w *writer) create(ctx context.Context, t p11.CertificateTemplate) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	longer, cancel := p11.Outlasting(ctx, undoTime)
	defer cancel()
	o, err := w.store.device.CreateCertificate(longer, t)
	if err != nil {
		// It may be there all the same, and only the answer be lost.
		o = p11.Certificate{Label: t.Label, ID: t.ID, Value: t.Value}
	}
	w.written = append(w.written, parse(o))
	return err
}

// settle writes one object more than is needed, and removes it, if one that was
// written may have been cut: see [p11.MayBeCut]. The object holds c.
func (w *writer) settle(ctx context.Context, c *x509.Certificate) error {
	if !slices.ContainsFunc(w.written, func(o found) bool { return p11.MayBeCut(o.Value) }) {
		return nil
	}
	t := template(alias.TrustIssuerLabel(c.Raw), c, p11.CategoryOther)
	if err := w.create(ctx, t); err != nil {
		return fmt.Errorf("%w: the token has no room left: %w", ErrNotStored, err)
	}
	last := len(w.written) - 1
	if err := w.store.remove(ctx, w.written[last].Certificate); err != nil {
		return err
	}
	w.written = w.written[:last]
	return nil
}

// undo removes what has been written, the entry before its issuers. It is tried
// even if the context that was cancelled is the reason for it.
func (w *writer) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return w.takeBack(ctx)
}

func (w *writer) takeBack(ctx context.Context) (err error) {
	for _, o := range slices.Backward(w.written) {
		err = errors.Join(err, w.store.remove(ctx, o.Certificate))
	}
	issuers := slices.DeleteFunc(slices.Clone(w.written), func(o found) bool { return !alias.IsTrustIssuerLabel(o.Label) })
	if len(issuers) > 0 {
		_, failed := w.store.giveBack(ctx, issuers)
		err = errors.Join(err, failed)
	}
	return err
}

// remove destroys one object, looking for it if its handle is not known or not
// good any more. What is not there need not be removed: another process may
// have been quicker.
func (s *Store) remove(ctx context.Context, c p11.Certificate) error {
	if c.Object != (p11.Object{}) && s.device.Destroy(ctx, c.Object) == nil {
		return nil
	}
	objects, err := s.device.Certificates(ctx, p11.Filter{ID: c.ID})
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.Label == c.Label && bytes.Equal(o.Value, c.Value) {
			return s.device.Destroy(ctx, o.Object)
		}
	}
	return nil
}
