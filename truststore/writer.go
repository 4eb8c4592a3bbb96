// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A writer writes objects and remembers them, to take them back.
type writer struct {
	device  device
	written []p11.Object
}

// ensure writes an object unless it is there. It does not believe the token, but
// asks it again: a token on a full disk has been seen to report success.
func (w *writer) ensure(ctx context.Context, t p11.CertificateTemplate) (p11.Certificate, error) {
	if o, ok, err := w.find(ctx, t); ok || err != nil {
		return o, err
	}
	o, err := w.device.CreateCertificate(ctx, t)
	if err != nil {
		return p11.Certificate{}, err
	}
	w.written = append(w.written, o.Object)
	o, ok, err := w.find(ctx, t)
	if err == nil && !ok {
		err = ErrNotStored
	}
	return o, err
}

// find looks for an object by its id and compares the rest byte for byte.
func (w *writer) find(ctx context.Context, t p11.CertificateTemplate) (p11.Certificate, bool, error) {
	objects, err := w.device.Certificates(ctx, p11.Filter{ID: t.ID})
	for _, o := range objects {
		if is(o, t) {
			return o, true, err
		}
	}
	return p11.Certificate{}, false, err
}

// undo removes what has been written, as far as the token lets it. It is tried
// even if the context that was cancelled is the reason for it.
func (w *writer) undo(ctx context.Context) {
	for _, o := range w.written {
		_ = w.device.Destroy(context.WithoutCancel(ctx), o) // the first error is the one to report
	}
}
