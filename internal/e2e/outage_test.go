// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
)

// errorLog keeps the errors that are logged.
type errorLog struct {
	slog.Handler
	errs chan error
}

func newErrorLog() *errorLog { return &errorLog{slog.DiscardHandler, make(chan error, 1024)} }

func (l *errorLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *errorLog) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			l.errs <- err
		}
		return true
	})
	return nil
}

// TestTokenRemoved pulls the token out after the configuration was made: the
// handshake fails with the token's own error as soon as the hold is over, and
// works again when the token is back.
func TestTokenRemoved(t *testing.T) {
	t.Parallel()
	const hold = 300 * time.Millisecond
	short := func(c *hsm.Config) { c.Hold, c.SignTimeout = hold, time.Minute }

	t.Run("client", func(t *testing.T) {
		t.Parallel()
		s := newStation(t, setup{token: short})
		server := s.peer(s.hosts.Server(loopback)).server(t)
		s.Remove()
		start := time.Now()
		_, err := s.dial(t.Context(), s.p, server.addr)
		requireGone(t, err, time.Since(start), hold)
		s.requireBack(t, server.addr)
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		s := newStation(t, setup{token: short})
		log := newErrorLog()
		p := s.provider()
		p.Logger = slog.New(log)
		server := s.listen(t, p)
		s.Remove()
		start := time.Now()
		_, err := s.peer(s.devices.Client("terminal 2")).dialer()(server.addr)
		require.Error(t, err)
		elapsed := time.Since(start)
		require.Error(t, (<-server.results).err)
		requireGone(t, <-log.errs, elapsed, hold)
		s.requireBack(t, server.addr)
	})
}

// requireGone asserts that err is that of a token that was waited for in vain, and no
// longer than the hold and what a busy machine takes.
func requireGone(t *testing.T, err error, elapsed, hold time.Duration) {
	t.Helper()
	var gone *hsm.UnavailableError
	require.ErrorAs(t, err, &gone)
	require.Equal(t, hsm.Recovering, gone.State)
	require.Less(t, elapsed, hold+10*time.Second)
}

// requireBack puts the token back and dials.
func (s *station) requireBack(t *testing.T, addr string) {
	t.Helper()
	s.Insert()
	require.Eventually(t, func() bool { return s.token.Status().State == hsm.Ready }, 30*time.Second, time.Millisecond)
	_, err := s.dial(t.Context(), s.provider(), addr)
	require.NoError(t, err)
}

// TestRecoveryUnderLoad makes full handshakes with both keys in the token while
// it loses its sessions again and again: no handshake fails.
func TestRecoveryUnderLoad(t *testing.T) {
	t.Parallel()
	const workers, duration, interval = 8, 2 * time.Second, 100 * time.Millisecond
	// On a busy machine the token is back long after the last outage has begun.
	s := newStation(t, setup{token: func(c *hsm.Config) { c.Hold, c.SignTimeout = time.Minute, time.Minute }})
	p := s.patient()
	p.SessionLifetime = -1 // every handshake is a full one
	server := s.listen(t, p)

	var made, failed atomic.Int64
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range workers {
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.dial(context.Background(), p, server.addr); err != nil {
					failed.Add(1)
					t.Log(err)
				}
				made.Add(1)
			}
		})
	}
	for end := time.Now().Add(duration); time.Now().Before(end); time.Sleep(interval) {
		s.LoseSessions()
	}
	cancel()
	running.Wait()

	t.Logf("%d handshakes, %d failed, %d outages", made.Load(), failed.Load(), s.token.Status().Outages)
	require.Zero(t, failed.Load())
	require.Positive(t, made.Load())
	require.Positive(t, s.token.Status().Outages)
	require.Zero(t, s.Misuse())
	require.GreaterOrEqual(t, s.Calls("C_Sign"), int(2*made.Load()))
}
