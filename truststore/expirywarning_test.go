// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A records keeps the attributes of the last record of a message, and counts them.
type records struct {
	slog.Handler
	message string
	n       int
	last    map[string]any
}

func (r *records) Handle(_ context.Context, rec slog.Record) error {
	if rec.Message != r.message {
		return nil
	}
	r.n++
	r.last = map[string]any{}
	rec.Attrs(func(a slog.Attr) bool {
		r.last[a.Key] = a.Value.Any()
		return true
	})
	return nil
}

func warnings() *records {
	return &records{Handler: slog.NewTextHandler(nil, nil), message: "trust ends soon"}
}

// A hand is a clock that is set by hand.
type hand struct{ ahead atomic.Int64 }

func (h *hand) now() time.Time          { return time.Now().Add(time.Duration(h.ahead.Load())) }
func (h *hand) advance(d time.Duration) { h.ahead.Add(int64(d)) }

// TestExpiryWarning moves the clock past the end of a CRL, of an entry and of the
// anchor.
func TestExpiryWarning(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	root := testpki.NewRoot("acquirer root")
	tok, clock, log := hsmtest.Token(t), new(hand), warnings()
	cfg := Config{Anchors: Anchors{Acquirer: certs(root.Certificate)}, Now: clock.now, Logger: slog.New(log)}
	s, err := Open(t.Context(), tok, cfg)
	require.NoError(t, err)
	refreshed := func(n int) {
		t.Helper()
		require.NoError(t, s.Refresh(t.Context()))
		require.NoError(t, s.Refresh(t.Context()))
		require.Equal(t, n, log.n, log.last)
	}
	host := testpki.ServerTemplate("host.example.com")
	host.NotAfter = time.Now().Add(100 * day)
	_, err = s.Inject(t.Context(), "host", root.Issue(host, root.Server("x").Leaf.PublicKey))
	require.NoError(t, err)
	crl := func(number int64, life time.Duration) *x509.RevocationList {
		return crlWith(t, root, number, func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = clock.now().Add(-time.Minute), clock.now().Add(life)
		})
	}
	_, err = s.InjectCRL(t.Context(), crl(1, 8*day))
	require.NoError(t, err)

	refreshed(0)
	clock.advance(5 * day)
	refreshed(0) // the CRL has 3 of 8 days left
	clock.advance(1*day + time.Minute)
	refreshed(1)
	require.Equal(t, int64(1), log.last["crls"])
	require.Equal(t, int64(0), log.last["entries"])
	require.Equal(t, int64(1), log.last["days_left"])
	clock.advance(23 * time.Hour)
	refreshed(1)
	clock.advance(time.Hour)
	refreshed(2)

	_, err = s.InjectCRL(t.Context(), crl(2, 8000*day))
	require.NoError(t, err)
	clock.advance(day)
	refreshed(2)
	clock.advance(70 * day)
	refreshed(3)
	require.Equal(t, "host", log.last["first"])
	require.Equal(t, int64(1), log.last["entries"])

	clock.advance(root.Certificate.NotAfter.Sub(clock.now()) - day)
	refreshed(4)
	require.Equal(t, int64(1), log.last["anchors"])
	require.Equal(t, int64(0), log.last["entries"], "it has ended and is rejected")
	require.Equal(t, root.Certificate.Subject.String(), log.last["first"])
}

// TestLogExpiring is about who asks, and for how long before.
func TestLogExpiring(t *testing.T) {
	t.Parallel()
	a, clock := newAcquirer(), new(hand)
	tok, log := hsmtest.Token(t), warnings()
	cfg := a.config()
	cfg.Now = clock.now
	s, err := Open(t.Context(), tok, cfg)
	require.NoError(t, err)
	left := a.root.Certificate.NotAfter.Sub(clock.now())
	s.LogExpiring(nil, left+time.Hour)
	require.Zero(t, log.n)
	s.LogExpiring(slog.New(log), left+time.Hour)
	require.Equal(t, 1, log.n)
	s.LogExpiring(slog.New(log), left+time.Hour)
	require.Equal(t, 1, log.n, "once a day")
	clock.advance(25 * time.Hour)
	s.LogExpiring(slog.New(log), time.Hour)
	require.Equal(t, 1, log.n, "nothing ends so soon")
	new(Store).LogExpiring(slog.New(log), left)
	require.Equal(t, 1, log.n)

	cfg.Logger = slog.New(log)
	cfg.ExpiryWarning = left
	_, err = Open(t.Context(), tok, cfg)
	require.NoError(t, err)
	require.Equal(t, 2, log.n)
	cfg.ExpiryWarning = -1
	_, err = Open(t.Context(), tok, cfg)
	require.NoError(t, err)
	require.Equal(t, 2, log.n)
}
