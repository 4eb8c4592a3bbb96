// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A slowToken takes its time to write a certificate, during which the caller's
// context ends. It writes it all the same, as a module does that a call cannot leave.
type slowToken struct {
	p11.Token
	label   string
	end     context.CancelFunc
	writing sync.WaitGroup
}

func (s *slowToken) CreateCertificate(ctx context.Context, t p11.CertificateTemplate) (c p11.Certificate, err error) {
	if t.Label != s.label {
		return s.Token.CreateCertificate(ctx, t)
	}
	done := make(chan struct{})
	s.writing.Go(func() {
		defer close(done)
		time.Sleep(200 * time.Millisecond)
		c, err = s.Token.CreateCertificate(context.Background(), t)
	})
	s.end()
	select {
	case <-ctx.Done():
		return p11.Certificate{}, ctx.Err()
	case <-done:
		return c, err
	}
}

// TestWriteOutlastsContext has a context end in the middle of a write: what was
// written after all would be one certificate too many, for good.
func TestWriteOutlastsContext(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, old := identity(t, s, "terminal_pub", "terminal")
	for name, op := range map[string]func(context.Context, *Store, []*x509.Certificate) error{
		"terminal_pub": func(ctx context.Context, s *Store, chain []*x509.Certificate) error {
			return s.Replace(ctx, "terminal_pub", chain)
		},
		"second": func(ctx context.Context, s *Store, chain []*x509.Certificate) error {
			return s.Inject(ctx, "second", "terminal", chain)
		},
	} {
		before := contents(t, s.device)
		ctx, cancel := context.WithCancel(t.Context())
		slow := &slowToken{Token: s.device, label: name, end: cancel}
		require.ErrorIs(t, op(ctx, newStore(slow), issue(authority(), "new", key.Public())), context.Canceled)
		slow.writing.Wait()
		require.Equal(t, before, contents(t, s.device), name)
	}
	id, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, old, id.Chain)
}
