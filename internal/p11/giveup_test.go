// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// requireCloses closes a token, which must not take for ever.
func requireCloses(t *testing.T, token p11.Token) {
	t.Helper()
	closed := make(chan error)
	go func() { closed <- token.Close() }()
	select {
	case err := <-closed:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		require.Fail(t, "the token is not closed")
	}
}

// A deafSource gives a PIN once, and then does not come back before it is let go.
func deafSource(t *testing.T) (source func(context.Context) ([]byte, error), asked *atomic.Int64) {
	t.Helper()
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	asked = new(atomic.Int64)
	return func(context.Context) ([]byte, error) {
		if asked.Add(1) > 1 {
			<-held
		}
		return []byte(hsmtest.PIN), nil
	}, asked
}

// TestCloseLeavesThePINSource: a token is closed while its PIN is asked for of somebody
// who does not look at the context, and can be opened again.
func TestCloseLeavesThePINSource(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := faultConfig(t, m)
	source, asked := deafSource(t)
	deaf := cfg
	deaf.PIN = source
	token, err := p11.Open(t.Context(), deaf)
	require.NoError(t, err)
	m.LoseSessions()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = token.Random(ctx, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Eventually(t, func() bool { return asked.Load() == 2 }, 30*time.Second, time.Millisecond)
	requireCloses(t, token)
	_, err = open(t, cfg).Random(t.Context(), 1)
	require.NoError(t, err)
}

func TestOpenLeavesThePINSource(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := faultConfig(t, m)
	cfg.PIN, _ = deafSource(t)
	_, _ = cfg.PIN(t.Context())
	requireOpenGivesUp(t, m, cfg, 100*time.Millisecond)
}

// TestCloseLeavesTheSlotList: nor does a module that hangs while a token is looked for.
func TestCloseLeavesTheSlotList(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := faultConfig(t, m)
	token, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	m.Hang("C_GetSlotList", 2)
	t.Cleanup(m.Release)
	m.LoseSessions()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = token.Random(ctx, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Eventually(t, func() bool { return m.Hanging() == 1 }, 30*time.Second, time.Millisecond)
	requireCloses(t, token)
	_, err = p11.Open(ctx, cfg)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	m.Release()
	_, err = open(t, cfg).Random(t.Context(), 1)
	require.NoError(t, err)
}

// TestCallMeetsClose: who waits for a session when the token is closed hears that it is
// closed, and not that it recovers.
func TestCallMeetsClose(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *p11.Config) { c.Sessions, c.Hold = 1, -1 })
	b.Delay("C_Sign", 200*time.Millisecond)
	var signing sync.WaitGroup
	var closed atomic.Int64
	for range 4 {
		signing.Go(func() {
			if err := b.sign(t.Context()); err != nil {
				if closed.Add(1); !errors.Is(err, p11.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
	require.Eventually(t, func() bool { return b.token.Status().Queued == 3 }, 30*time.Second, time.Millisecond)
	require.NoError(t, b.token.Close())
	signing.Wait()
	require.Positive(t, closed.Load())
}

// TestNobodyWaitsForTheOfficer: while the security officer is at work, whoever wants
// the module waits for him no longer than he may.
func TestNobodyWaitsForTheOfficer(t *testing.T) {
	t.Parallel()
	cfg := faultConfig(t, faultp11.New(t))
	request := p11.OfficerRequest{Module: cfg.Module, Select: cfg.Select, SOPIN: []byte(hsmtest.SOPIN)}
	err := p11.AsOfficer(t.Context(), request, func(p11.Officer) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := p11.Open(ctx, cfg)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = p11.List(ctx, cfg.Module, "")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = p11.InitToken(ctx, p11.InitRequest{Module: cfg.Module, Label: "other", SOPIN: request.SOPIN, PIN: request.SOPIN})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return p11.AsOfficer(ctx, request, nil)
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
