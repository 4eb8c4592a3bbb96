// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/sha256"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A slow token takes its time to write an object, during which the caller's context
// ends. It writes it all the same, as a module does that a call cannot leave.
type slow struct {
	*faulty
	label   string
	end     context.CancelFunc
	writing sync.WaitGroup
}

func slowly[T any](ctx context.Context, s *slow, label string, write func(context.Context) (T, error)) (made T, err error) {
	if label != s.label {
		return write(ctx)
	}
	done := make(chan struct{})
	s.writing.Go(func() {
		defer close(done)
		time.Sleep(200 * time.Millisecond)
		made, err = write(context.Background())
	})
	s.end()
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case <-done:
		return made, err
	}
}

func (s *slow) CreateCertificate(ctx context.Context, t p11.CertificateTemplate) (p11.Certificate, error) {
	return slowly(ctx, s, t.Label, func(ctx context.Context) (p11.Certificate, error) { return s.faulty.CreateCertificate(ctx, t) })
}

func (s *slow) CreateData(ctx context.Context, t p11.DataTemplate) (p11.Data, error) {
	return slowly(ctx, s, t.Label, func(ctx context.Context) (p11.Data, error) { return s.faulty.CreateData(ctx, t) })
}

// TestWriteOutlastsContext has a context end in the middle of a write: what was
// written after all would count, though its caller was told that it failed.
func TestWriteOutlastsContext(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	host := a.lower.Server("host.example.com").Leaf
	late := &slow{faulty: f}
	s := a.open(t, late)
	during := func(label string, op func(context.Context) error) {
		ctx, cancel := context.WithCancel(t.Context())
		late.label, late.end = label, cancel
		require.ErrorIs(t, op(ctx), context.Canceled)
		late.writing.Wait()
	}
	during("host", func(ctx context.Context) error {
		_, err := s.Inject(ctx, "host", a.sent(host)...)
		return err
	})
	require.Empty(t, f.labels(t))
	require.Empty(t, a.open(t, f).Entries())
	sum := sha256.Sum256(host.Raw)
	during(alias.DenyLabel(sum[:]), func(ctx context.Context) error { return s.DenyFingerprint(ctx, sum, "lost") })
	require.Empty(t, a.open(t, f).Denied())
}
