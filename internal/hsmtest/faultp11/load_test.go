// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package faultp11_test

import (
	"crypto"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// TestFaultsUnderLoad strikes while signatures are being made. Whether they
// succeed is the business of package p11; here nothing may crash, hang or stay
// broken.
func TestFaultsUnderLoad(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := m.Config(t)
	token, err := hsm.Open(t.Context(), cfg)
	require.NoError(t, err)
	signer := generate(t, token)

	var stop atomic.Bool
	var good, bad atomic.Int64
	var wg sync.WaitGroup
	digest := sha256.Sum256(nil)
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				if _, err := signer.Sign(nil, digest[:], crypto.SHA256); err != nil {
					bad.Add(1)
					continue
				}
				good.Add(1)
			}
		})
	}
	for range 3 {
		for _, strike := range []func(){
			m.LoseSessions,
			m.Uninitialise,
			func() { m.Disconnect(faultp11.DeviceError) },
			func() { m.Remove(); time.Sleep(20 * time.Millisecond); m.Insert() },
			func() { m.Fail("C_Sign", 3, faultp11.DeviceError) },
			func() { m.Inject("C_SignInit", faultp11.Fault{Mode: faultp11.LoseSessions, After: 5}) },
			func() { m.Hang("C_Sign", 1); time.Sleep(20 * time.Millisecond); m.Release() },
			func() { m.Parallel(1); m.DelayAll(time.Millisecond) },
			func() { m.Parallel(0); m.DelayAll(0) },
		} {
			strike()
			time.Sleep(30 * time.Millisecond)
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d signatures, %d failed, %+v, %v", good.Load(), bad.Load(), m.Misuse(), m.CallTable())
	m.Reset()
	require.NotZero(t, good.Load())
	require.NoError(t, token.Close())

	token = hsmtest.Open(t, cfg)
	keys, err := token.Device().Keys(t.Context(), p11.Filter{})
	require.NoError(t, err)
	require.Len(t, keys, 1)
	again, err := token.Device().Signer(t.Context(), keys[0].ID, keys[0].Public)
	require.NoError(t, err)
	requireSigns(t, again)
	require.Zero(t, m.Hanging())
	require.Zero(t, m.InFlight("C_Sign"))
}
