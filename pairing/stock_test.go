// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/rsa"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, made := newStock(), new(atomic.Int64)
		s.generate = func() (*rsa.PrivateKey, error) {
			time.Sleep(5 * time.Second)
			return &rsa.PrivateKey{PublicKey: rsa.PublicKey{E: int(made.Add(1))}}, nil
		}
		s.prepare()
		s.prepare()
		time.Sleep(6 * time.Second)
		start := time.Now()
		first, err := s.take(t.Context())
		require.NoError(t, err)
		require.Zero(t, time.Since(start), "made ahead of time")
		second, err := s.take(t.Context())
		require.NoError(t, err)
		require.Equal(t, 5*time.Second, time.Since(start))
		require.NotEqual(t, first.E, second.E, "nobody gets another's key")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.take(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s.prepare()
		s.discard()
		s.wait()
		require.EqualValues(t, 4, made.Load())
		require.Nil(t, s.making)
	})
}

func TestStockFails(t *testing.T) {
	t.Parallel()
	s, broken := newStock(), errors.New("broken")
	s.generate = func() (*rsa.PrivateKey, error) { return nil, broken }
	_, err := s.take(t.Context())
	require.ErrorIs(t, err, broken)
	real := newStock()
	key, err := real.take(t.Context())
	require.NoError(t, err)
	require.Equal(t, posKeyBits, key.N.BitLen())
}
