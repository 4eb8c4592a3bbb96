// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"crypto"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
)

// soakTime is how long TestSoak runs: $HSMTLS_SOAK, two minutes in CI, a few
// seconds otherwise.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	if s := os.Getenv("HSMTLS_SOAK"); s != "" {
		d, err := time.ParseDuration(s)
		require.NoError(t, err)
		return d
	}
	if os.Getenv("CI") != "" {
		return 2 * time.Minute
	}
	return 5 * time.Second
}

// faults are the ways in which a token fails for shorter than it is held for.
func (s *station) faults() []func() {
	return []func(){
		s.LoseSessions,
		s.Uninitialise,
		func() { s.Disconnect(faultp11.DeviceError) },
		func() { s.Fail("C_Sign", 1+rand.IntN(8), faultp11.DeviceError) },
		func() { s.Fail("C_SignInit", 1+rand.IntN(8), faultp11.SessionHandleInvalid) },
		func() { s.LoseAnswer("C_Sign", 1+rand.IntN(8), faultp11.DeviceRemoved) },
		func() { s.Fail("C_SignInit", 1, faultp11.GeneralError) },
		func() { s.Fail("C_OpenSession", 2, faultp11.DeviceError); s.LoseSessions() },
		func() { s.Fail("C_Login", 2, faultp11.DeviceError); s.LoseSessions() },
		func() { s.outage(time.Duration(10+rand.IntN(690)) * time.Millisecond) },
	}
}

// outage pulls the token out for a while.
func (s *station) outage(d time.Duration) {
	s.Remove()
	time.Sleep(d)
	s.Insert()
}

// TestSoak has 32 workers make full handshakes with both keys in the token,
// while it fails in every way at random moments. No handshake fails, and nothing
// grows.
func TestSoak(t *testing.T) {
	t.Parallel()
	// On a busy machine under the race detector, what is an outage of half a
	// second takes much longer for the last of 32 workers.
	s := newStation(t, setup{token: func(c *hsm.Config) { c.Hold, c.SignTimeout = 20*time.Second, 40*time.Second }})
	p := s.provider()
	p.SessionLifetime = -1 // every handshake is a full one
	p.HandshakeTimeout, p.SignTimeout = 2*time.Minute, time.Minute
	p.Admission = hsmtls.Admission{PerSource: 256}
	server := s.listen(t, p)
	go func() {
		for r := range server.results {
			if r.err != nil {
				t.Log(r.err)
			}
		}
	}()
	t.Cleanup(func() { close(server.results) })

	var made, failed atomic.Int64
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range 32 {
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
	faults := s.faults()
	for end := time.Now().Add(soakTime(t)); time.Now().Before(end); {
		before := made.Load()
		faults[rand.IntN(len(faults))]()
		// The next outage begins after this one has ended: together they would be
		// longer than the hold.
		for made.Load() < before+32 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
	}
	cancel()
	running.Wait()

	status := s.token.Status()
	t.Logf("%d handshakes, %d failed, %d outages, at most %d sessions", made.Load(), failed.Load(), status.Outages, s.PeakSessions())
	require.Zero(t, failed.Load())
	require.Positive(t, status.Outages)
	require.Zero(t, status.Hung)
	require.LessOrEqual(t, s.PeakSessions(), 8+2, "sessions: eight at work, one that takes the place of another, and one that logs out")
	require.Zero(t, s.Misuse())
}

// TestFirstSuccessAfterReturn measures how long after the token is back the
// first of 8 waiting callers is served.
func TestFirstSuccessAfterReturn(t *testing.T) {
	t.Parallel()
	s := newStation(t, setup{token: func(c *hsm.Config) { c.Hold, c.SignTimeout = time.Minute, time.Minute }})
	key, err := s.keys.Key(t.Context(), terminal+" key")
	require.NoError(t, err)
	var took []time.Duration
	for range 9 {
		s.Remove()
		first := make(chan time.Time, 8)
		var waiting sync.WaitGroup
		for range 8 {
			waiting.Go(func() {
				if _, err := key.SignMessage(nil, []byte("m"), crypto.SHA256); err != nil {
					t.Error(err)
				}
				first <- time.Now()
			})
		}
		time.Sleep(700 * time.Millisecond)
		back := time.Now()
		s.Insert()
		waiting.Wait()
		took = append(took, (<-first).Sub(back))
	}
	slices.Sort(took)
	t.Logf("median %v, longest %v", took[len(took)/2], took[len(took)-1])
	require.Less(t, took[len(took)/2], 2*time.Second, "that is not waiting for the token but for something else")
}

// TestStorm dials 2 000 servers at once with a token that takes 20 ms for a
// signature. All are served, in the time that the queue needs, by a few sessions
// and threads.
func TestStorm(t *testing.T) {
	const dials, delay, sessions = 2000, 20 * time.Millisecond, 4
	s := newStation(t, setup{token: func(c *hsm.Config) { c.Sessions, c.SignTimeout = sessions, 5*time.Minute }})
	server := s.peer(s.hosts.Server(loopback)).server(t)
	p := s.provider()
	p.SessionLifetime = -1
	p.HandshakeTimeout, p.SignTimeout = 5*time.Minute, 5*time.Minute
	s.Delay("C_Sign", delay)
	threads := pthreads(t)

	var failed atomic.Int64
	var running sync.WaitGroup
	took := make([]time.Duration, dials)
	start := time.Now()
	for i := range dials {
		running.Go(func() {
			if _, err := s.dial(context.Background(), p, server.addr); err != nil {
				failed.Add(1)
				t.Log(err)
			}
			took[i] = time.Since(start)
		})
	}
	running.Wait()
	slices.Sort(took)
	queue := time.Duration(dials/sessions) * delay
	t.Logf("%d dials, %d failed; the queue takes %v, p50 %v, p99 %v; %d sessions, %d threads more",
		dials, failed.Load(), queue, took[dials/2], took[dials*99/100], s.PeakSessions(), pthreads(t)-threads)
	require.Zero(t, failed.Load())
	require.LessOrEqual(t, s.MaxInFlight("C_Sign"), sessions)
	require.LessOrEqual(t, pthreads(t)-threads, dials/20, "none for each dial: on a busy machine the runtime starts some for short calls too")
	require.Zero(t, s.Misuse())
}

// pthreads is how many threads the process has.
func pthreads(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	return len(tasks)
}
