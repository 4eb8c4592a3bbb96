// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	errTrustAway  = errors.New("trust is away")
	errKeysAway   = errors.New("keys are away")
	errServedAway = errors.New("what is served is away")
)

// A fakeRefresher fails with what it is set to, and counts.
type fakeRefresher struct {
	mu    sync.Mutex
	err   error
	looks int
}

func (f *fakeRefresher) Refresh(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	return f.err
}

func (f *fakeRefresher) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looks
}

func (f *fakeRefresher) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// A followed is a follower and what it was heard to say.
type followed struct {
	*follower
	trust, keys, served fakeRefresher
	stages              []stage
	reads               int
	failures            []error
}

func newFollowed(every time.Duration) *followed {
	w := new(followed)
	w.follower = &follower{
		trust: &w.trust, keys: &w.keys, served: &w.served, every: every,
		enter:  func(s stage) { w.stages = append(w.stages, s) },
		read:   func() { w.reads++ },
		failed: func(err error) { w.failures = append(w.failures, err) },
	}
	return w
}

// run follows until the test ends, and returns what asks.
func (w *followed) run(t *testing.T) (asked chan os.Signal) {
	ctx, cancel := context.WithCancel(t.Context())
	asked = make(chan os.Signal, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.follow(ctx, asked)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return asked
}

// TestFollowEvery says a failure once for as long as it lasts, and nothing else.
func TestFollowEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFollowed(time.Minute)
		w.run(t)
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		pass(59 * time.Second)
		require.Zero(t, w.trust.count())
		pass(2 * time.Minute)
		require.Equal(t, []int{2, 2, 2}, []int{w.trust.count(), w.keys.count(), w.served.count()})
		for range 2 {
			w.trust.set(errTrustAway)
			pass(5 * time.Minute)
			w.trust.set(nil)
			pass(time.Minute)
		}
		require.Len(t, w.failures, 2)
		require.ErrorIs(t, w.failures[0], errTrustAway)
		require.Equal(t, w.trust.count(), w.served.count(), "each half counts")
		require.Zero(t, w.reads)
		require.Empty(t, w.stages)
	})
}

// TestFollowAsked answers each time, also without an interval.
func TestFollowAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFollowed(0)
		asked := w.run(t)
		ask := func() { asked <- syscall.SIGHUP; synctest.Wait() }
		time.Sleep(time.Hour)
		require.Zero(t, w.trust.count())
		ask()
		require.Equal(t, 1, w.reads)
		require.Equal(t, []stage{reloading, ready}, w.stages)
		w.served.set(errServedAway)
		ask()
		ask()
		require.Len(t, w.failures, 2)
		require.ErrorIs(t, w.failures[1], errServedAway)
		require.Equal(t, 1, w.reads)
		require.Equal(t, []stage{reloading, ready, reloading, ready, reloading, ready}, w.stages)
	})
}

// TestFollowSaysOnce does not repeat at the next interval what was said when asked, nor
// what keys lack in the words of those that present it.
func TestFollowSaysOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newFollowed(time.Minute)
		asked := w.run(t)
		w.keys.set(errKeysAway)
		w.served.set(errServedAway)
		asked <- syscall.SIGHUP
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Len(t, w.failures, 1)
		require.ErrorIs(t, w.failures[0], errKeysAway)
		require.NotErrorIs(t, w.failures[0], errServedAway)
	})
}

// TestFollowEnding says nothing of what fails only because it ends.
func TestFollowEnding(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := newFollowed(0)
	w.trust.set(ctx.Err())
	w.now(ctx)
	require.Empty(t, w.failures)
	require.Zero(t, w.reads)
}
