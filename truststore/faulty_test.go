// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

var errDevice = errors.New("device error")

// A faulty is a real token that can be told to misbehave. Set its fields while
// nothing is under way.
type faulty struct {
	device
	failAt   int                                            // the call that fails, counted from 1; 0 for none
	forget   bool                                           // acknowledges writes and loses them
	cling    bool                                           // acknowledges removals and ignores them
	public   bool                                           // does not grant private objects
	seen     func([]p11.Certificate)                        // may change what is read
	onCreate func(context.Context, p11.CertificateTemplate) // runs before a write

	mu    sync.Mutex
	calls int
}

// newFaulty returns a token for this test that does not misbehave yet.
func newFaulty(t *testing.T) *faulty {
	t.Helper()
	return &faulty{device: hsmtest.Token(t).Device()}
}

func (f *faulty) call() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.calls == f.failAt {
		return errDevice
	}
	return nil
}

// arm makes the nth call from now fail; 0 makes none fail.
func (f *faulty) arm(n int) { f.calls, f.failAt = 0, n }

func (f *faulty) Certificates(ctx context.Context, filter p11.Filter) ([]p11.Certificate, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	found, err := f.device.Certificates(ctx, filter)
	if f.seen != nil {
		f.seen(found)
	}
	return found, err
}

func (f *faulty) CertificateObjects(ctx context.Context) ([]p11.Object, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.device.CertificateObjects(ctx)
}

func (f *faulty) ReadCertificates(ctx context.Context, objects []p11.Object) ([]p11.Certificate, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	read, err := f.device.ReadCertificates(ctx, objects)
	if f.seen != nil {
		f.seen(read)
	}
	return read, err
}

func (f *faulty) Inventory(ctx context.Context, last *p11.Inventory) (*p11.Inventory, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.device.Inventory(ctx, last)
}

func (f *faulty) ReadData(ctx context.Context, objects []p11.Object) ([]p11.Data, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.device.ReadData(ctx, objects)
}

func (f *faulty) KeyIDs(ctx context.Context, objects []p11.Object) ([][]byte, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.device.KeyIDs(ctx, objects)
}

// KeepsHandles has everything read again while somebody changes what is read.
func (f *faulty) KeepsHandles() bool { return f.seen == nil && f.device.KeepsHandles() }

func (f *faulty) Keys(ctx context.Context, filter p11.Filter) ([]p11.Key, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.device.Keys(ctx, filter)
}

func (f *faulty) CreateCertificate(ctx context.Context, t p11.CertificateTemplate) (p11.Certificate, error) {
	if f.onCreate != nil {
		f.onCreate(ctx, t)
	}
	if err := f.call(); err != nil {
		return p11.Certificate{}, err
	}
	t.Private = t.Private && !f.public
	c, err := f.device.CreateCertificate(ctx, t)
	if f.forget && err == nil {
		err = f.device.Destroy(ctx, c.Object)
	}
	return c, err
}

func (f *faulty) Destroy(ctx context.Context, objects ...p11.Object) error {
	if len(objects) == 0 {
		return nil
	}
	if err := f.call(); err != nil || f.cling {
		return err
	}
	return f.device.Destroy(ctx, objects...)
}

// plant writes an object as somebody would who has the module and no PIN.
func (f *faulty) plant(t *testing.T, label string, id []byte, c *x509.Certificate) p11.Certificate {
	t.Helper()
	o, err := f.device.CreateCertificate(t.Context(), p11.CertificateTemplate{Label: label, ID: id, Value: c.Raw})
	require.NoError(t, err)
	return o
}

// plantEntry plants what looks like an entry in everything but its proof.
func (f *faulty) plantEntry(t *testing.T, label string, c *x509.Certificate) p11.Certificate {
	t.Helper()
	return f.plant(t, label, alias.TrustID(c.Raw), c)
}

// labels lists the labels of all certificates on the token.
func (f *faulty) labels(t *testing.T) (labels []string) {
	t.Helper()
	found, err := f.device.Certificates(t.Context(), p11.Filter{})
	require.NoError(t, err)
	for _, o := range found {
		labels = append(labels, o.Label)
	}
	return labels
}
