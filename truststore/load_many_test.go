// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// many returns a token of more than two lots, good entries before, between and after
// bad ones, and the issuers last. Bad are the labels of the others, as they are
// rejected.
func (a acquirer) many() (m memory, good int, bad []string) {
	good = 2*surveyBatch + 100
	key, stranger := a.lower.Key.Public(), testpki.NewRoot("stranger")
	put := func(t p11.CertificateTemplate) {
		m.objects = append(m.objects, p11.Certificate{Label: t.Label, ID: t.ID, Value: t.Value, Private: true})
	}
	var marked, unproved, ambiguous []string
	for i := range good {
		host := a.lower.Issue(testpki.ServerTemplate(fmt.Sprintf("host-%d.example.com", i)), key)
		put(Entry{Alias: fmt.Sprintf("host %d", i), Certificate: host}.template())
		if i%200 != 0 {
			continue
		}
		label := func(what string) string { return fmt.Sprintf("%s %d", what, i) }
		put(p11.CertificateTemplate{Label: label("garbage"), ID: alias.TrustID(nil), Value: []byte("no certificate")})
		put(p11.CertificateTemplate{Label: label("marked"), ID: alias.TrustID(nil), Value: host.Raw})
		marked = append(marked, label("garbage"), label("marked"))
		put(Entry{Alias: label("stranger"), Certificate: stranger.Issue(testpki.ServerTemplate("evil.example.com"), key)}.template())
		put(Entry{Alias: label("weak"), Certificate: a.lower.Issue(testpki.ServerTemplate("weak.example.com"), rsa1024().Public())}.template())
		unproved = append(unproved, label("stranger"), label("weak"))
		for _, name := range []string{"one.example.com", "two.example.com"} {
			put(Entry{Alias: label("twice"), Certificate: a.lower.Issue(testpki.ServerTemplate(name), key)}.template())
			ambiguous = append(ambiguous, label("twice"))
		}
	}
	for _, t := range (Entry{Issuers: certs(a.lower.Certificate, a.upper.Certificate, a.root.Certificate)}).issuerTemplates() {
		put(t)
	}
	m.read = new(int)
	return m, good, slices.Concat(marked, unproved, ambiguous)
}

// However the work is shared out, a load has one result, with one order of what is
// rejected and of what is logged.
func TestLoadIsDeterministic(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	m, good, bad := a.many()
	at := time.Now()
	load := func() (*Store, string) {
		var log bytes.Buffer
		timeless := &slog.HandlerOptions{ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
			if attr.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attr
		}}
		cfg := a.config()
		cfg.Now = func() time.Time { return at }
		cfg.Logger = slog.New(slog.NewTextHandler(&log, timeless))
		s, err := open(t.Context(), m, cfg)
		require.NoError(t, err)
		return s, log.String()
	}
	first, log := load()
	require.Len(t, first.Entries(), good)
	var labels []string
	for _, r := range first.Rejected() {
		labels = append(labels, r.Label)
	}
	require.Equal(t, bad, labels)
	require.Equal(t, len(bad), bytes.Count([]byte(log), []byte("\n")))
	for range 4 {
		again, same := load()
		require.Equal(t, log, same)
		require.Equal(t, first.Entries(), again.Entries())
		require.Equal(t, first.Rejected(), again.Rejected())
	}
}

// An interrupted is a token that is left in the middle of being read.
type interrupted struct {
	memory
	lots   int // how many are read before; negative for all
	cancel context.CancelFunc
}

func (i *interrupted) ReadCertificates(ctx context.Context, objects []p11.Object) ([]p11.Certificate, error) {
	if i.lots == 0 {
		i.cancel()
		return nil, ctx.Err()
	}
	i.lots--
	return i.memory.ReadCertificates(ctx, objects)
}

// A load that is left in the middle changes nothing, and the next one is whole. That
// no goroutine stays behind is seen at the end of all tests.
func TestLoadIsCancelled(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	m, good, _ := a.many()
	i := &interrupted{memory: m, lots: -1}
	s := a.open(t, i)
	entries, rejected, generation := s.Entries(), s.Rejected(), s.Generation()
	i.objects = nil // what is not seen when the load is left
	require.NoError(t, s.Refresh(t.Context()))
	require.Empty(t, s.Entries())
	i.objects = m.objects
	for lots := range 3 {
		var ctx context.Context
		ctx, i.cancel = context.WithCancel(t.Context())
		i.lots = lots
		require.ErrorIs(t, s.Refresh(ctx), context.Canceled)
		require.Empty(t, s.Entries())
		require.Empty(t, s.Rejected())
		require.Equal(t, generation+1, s.Generation())
	}
	i.lots = -1
	require.NoError(t, s.Refresh(t.Context()))
	require.Len(t, s.Entries(), good)
	require.Equal(t, entries, s.Entries())
	require.Equal(t, rejected, s.Rejected())
}
