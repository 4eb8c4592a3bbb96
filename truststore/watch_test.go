// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// signalling is a log of which the first record is of interest.
type signalling struct {
	slog.Handler
	once  sync.Once
	heard chan struct{}
}

func (h *signalling) Enabled(context.Context, slog.Level) bool { return true }

func (h *signalling) Handle(context.Context, slog.Record) error {
	h.once.Do(func() { close(h.heard) })
	return nil
}

// What somebody else has injected comes into force by itself, and a token that
// does not answer leaves everything as it was.
func TestFollow(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	log := &signalling{heard: make(chan struct{})}
	cfg := a.config()
	cfg.Logger = slog.New(log)
	s, err := open(t.Context(), f, cfg)
	require.NoError(t, err)
	changed := make(chan struct{}, 8)
	defer s.Watch(func() { changed <- struct{}{} })()
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() { s.Follow(ctx, time.Millisecond) })

	host := a.lower.Server("host.example.com").Leaf
	_, err = a.open(t, f.device).Inject(t.Context(), "host", a.sent(host)...)
	require.NoError(t, err)
	for len(s.Entries()) == 0 {
		<-changed
	}
	_, err = s.Verify(certs(host), "host.example.com", serverAuth, time.Now())
	require.NoError(t, err)

	s.writing.Lock() // so that no refresh is under way
	f.mu.Lock()
	f.failAt = f.calls + 1
	f.mu.Unlock()
	s.writing.Unlock()
	<-log.heard
	require.Len(t, s.Entries(), 1)
	cancel()
	following.Wait()

	quiet, stop := context.WithCancelCause(t.Context())
	stop(errors.New("enough"))
	s.Follow(quiet, 0)
}
