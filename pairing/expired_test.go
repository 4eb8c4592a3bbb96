// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/x509"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// remembering is a Registry that tells of what has expired.
type remembering struct {
	*memory
	expired []*x509.Certificate
}

func (r *remembering) Expired() []*x509.Certificate { return r.expired }

func (r *remembering) Remove(ctx context.Context, cert *x509.Certificate) error {
	if err := r.memory.Remove(ctx, cert); err != nil {
		return err
	}
	r.expired = slices.DeleteFunc(slices.Clone(r.expired), cert.Equal)
	return nil
}

// expiring has POS on the list whose certificates are then said to have expired.
func expiring(t *testing.T, ids ...string) (*world, *remembering) {
	t.Helper()
	w := newWorld(t)
	for _, id := range ids {
		require.NoError(t, w.try(t.Context(), id, w.tap(t), delivered))
	}
	r := &remembering{memory: &memory{root: w.registry.root}, expired: w.registry.Clients()}
	w.Registry = r
	return w, r
}

func TestExpired(t *testing.T) {
	t.Parallel()
	w, _ := expiring(t, "1", "2")
	require.Empty(t, w.List())
	require.Len(t, w.Expired(), 2)
	require.Equal(t, "1", w.Expired()[0].ID)
	require.NoError(t, w.Revoke(t.Context(), "1"))
	require.Len(t, w.Expired(), 1)
	require.ErrorIs(t, w.Revoke(t.Context(), "1"), ErrUnknown)

	require.NoError(t, w.try(t.Context(), "2", w.tap(t), delivered))
	require.Empty(t, w.Expired(), "pairing again is the end of the old one")
	require.Len(t, w.List(), 1)

}

func TestPrune(t *testing.T) {
	t.Parallel()
	w, r := expiring(t, "1", "2")
	r.set(nil, func(*x509.Certificate) error { return errBroken })
	n, err := w.Prune(t.Context())
	require.ErrorIs(t, err, errBroken)
	require.Zero(t, n)
	r.set(nil, nil)
	n, err = w.Prune(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Empty(t, w.Expired())
	n, err = w.Prune(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestExpiredUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Empty(t, w.Expired(), "a Registry need not remember")
	_, err := new(Terminal).Prune(t.Context())
	require.ErrorIs(t, err, ErrIncomplete)
	require.ErrorIs(t, new(Terminal).Revoke(t.Context(), "1"), ErrIncomplete)
}
