// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// closeSlowly has a token be closed when it returns.
func closeSlowly(t *testing.T) (m *faultp11.Module, cfg p11.Config) {
	t.Helper()
	m = faultp11.New(t)
	cfg = faultConfig(t, m)
	token, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	m.Delay("C_CloseSession", 300*time.Millisecond)
	var closing sync.WaitGroup
	closing.Go(func() { _ = token.Close() })
	t.Cleanup(closing.Wait)
	require.Eventually(t, func() bool { return m.InFlight("C_CloseSession") > 0 }, 30*time.Second, time.Millisecond)
	return m, cfg
}

// TestOpenWhileAnotherCloses: who opens a token that is being closed waits for that,
// and is neither refused by the login that ends nor ended with it.
func TestOpenWhileAnotherCloses(t *testing.T) {
	t.Parallel()
	m, cfg := closeSlowly(t)
	token := open(t, cfg)
	m.Delay("C_CloseSession", 0)
	_, err := token.PrivateKeys(t.Context(), p11.Filter{})
	require.NoError(t, err)
	require.Zero(t, token.Status().Outages)
	require.Zero(t, m.Misuse())
}

// requireOpenGivesUp opens a token for no longer than a context allows.
func requireOpenGivesUp(t *testing.T, m *faultp11.Module, cfg p11.Config, after time.Duration) {
	t.Helper()
	m.ResetCalls()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	_, err := p11.Open(ctx, cfg)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Zero(t, m.Calls("C_Login"))
}

func TestOpenWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	m, cfg := closeSlowly(t)
	requireOpenGivesUp(t, m, cfg, 10*time.Millisecond)
}

// TestCauseIsNotTheToken: the error of one device, given as the cause of a cancelled
// context, is not taken for one of the device that is asked with it.
func TestCauseIsNotTheToken(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	cause := &p11.Error{Op: "C_Sign", Code: faultp11.DeviceRemoved}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	require.ErrorIs(t, b.sign(ctx), cause)
	require.Zero(t, b.token.Status().Outages)
	require.Empty(t, b.token.Status().Errors)
	require.NoError(t, b.sign(t.Context()))
}

// TestCheckWaitsNoLongerThanItMay: who asks how the token is does not wait for the check
// of another beyond its context.
func TestCheckWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.Hang("C_Sign", 1)
	var checking sync.WaitGroup
	checking.Go(func() { _ = b.token.Check(t.Context(), time.Minute) })
	require.Eventually(t, func() bool { return b.Hanging() > 0 }, 30*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.token.Check(ctx, time.Minute), context.DeadlineExceeded)
	require.Positive(t, b.Hanging(), "the other one is still at it")
	b.Release()
	checking.Wait()
}

// TestLastTryOfTheOfficerIsNotSpent: wiping a token takes its security officer's PIN,
// which is not tried where a wrong one would be the last.
func TestLastTryOfTheOfficerIsNotSpent(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := faultConfig(t, m)
	m.ResetCalls()
	wipe := p11.InitRequest{Module: cfg.Module, Select: cfg.Select, Label: "wiped", SOPIN: []byte("wrong!"), PIN: []byte(hsmtest.PIN), Wipe: true}
	for flag, want := range map[uint]error{faultp11.SOPINFinalTry: p11.ErrPINFinalTry, faultp11.SOPINLocked: p11.ErrPINLocked} {
		m.PINFlags(flag)
		_, err := p11.InitToken(t.Context(), wipe)
		require.ErrorIs(t, err, want)
	}
	require.Zero(t, m.Calls("C_InitToken"))
}

// TestCloseLogsOutDuringAnOutage: a token that is closed while it recovers, with a call
// left inside the module, is logged out all the same.
func TestCloseLogsOutDuringAnOutage(t *testing.T) {
	t.Parallel()
	m, cfg, token := withAHungCall(t)
	defer m.Release()
	m.Fail("C_GenerateRandom", 1, faultp11.DeviceError)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := token.Random(ctx, 1)
	require.Error(t, err)
	require.Equal(t, p11.Recovering, token.Status().State)
	require.NoError(t, token.Close())
	again, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}
