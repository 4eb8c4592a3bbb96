// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// counting is a token that counts what reaches it.
func counting(device p11.Token) (p11.Token, *atomic.Int64) {
	var calls atomic.Int64
	return &oddToken{Token: device, gate: func(string) error {
		calls.Add(1)
		return nil
	}}, &calls
}

func TestCertificateIsKept(t *testing.T) {
	t.Parallel()
	device, calls := counting(open(t).device)
	s := newStore(device)
	key, _ := identity(t, s, "terminal_pub", "terminal")
	first, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)

	before := calls.Load()
	for range 100 {
		c, err := s.Certificate(t.Context(), "terminal_pub")
		require.NoError(t, err)
		require.Equal(t, first, c)
		require.NotSame(t, first, c)
	}
	require.Equal(t, before, calls.Load())

	renewed := issue(authority(), "renewed", key.Public())
	require.NoError(t, s.Replace(t.Context(), "terminal_pub", renewed))
	c, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, renewed[0], c.Leaf)
	require.NoError(t, s.DeleteCertificate(t.Context(), "terminal_pub"))
	_, err = s.Certificate(t.Context(), "terminal_pub")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	device := open(t).device
	here, elsewhere := newStore(device), newStore(device)
	require.NoError(t, here.Refresh(t.Context()))
	key, old := identity(t, here, "terminal_pub", "terminal")
	_, err := here.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)

	renewed := issue(authority(), "renewed", key.Public())
	require.NoError(t, elsewhere.Replace(t.Context(), "terminal_pub", renewed))
	c, err := here.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, old[0], c.Leaf)
	require.NoError(t, here.Refresh(t.Context()))
	c, err = here.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, renewed[0], c.Leaf)

	require.NoError(t, elsewhere.DeleteCertificate(t.Context(), "terminal_pub"))
	require.ErrorIs(t, here.Refresh(t.Context()), ErrNotFound)
	_, err = here.Certificate(t.Context(), "terminal_pub")
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, here.Refresh(t.Context()))
}

// TestRefreshOfAbsentToken keeps what it cannot look at.
func TestRefreshOfAbsentToken(t *testing.T) {
	t.Parallel()
	var gone atomic.Bool
	removed := &hsm.Error{Op: "C_FindObjectsInit", Code: 0x32}
	s := newStore(&oddToken{Token: open(t).device, gate: func(string) error {
		if gone.Load() {
			return removed
		}
		return nil
	}})
	_, chain := identity(t, s, "terminal_pub", "terminal")
	_, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	gone.Store(true)
	require.ErrorIs(t, s.Refresh(t.Context()), hsm.ErrRemoved)
	c, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, chain[0], c.Leaf)
}

func TestCacheAsksOnceForAll(t *testing.T) {
	t.Parallel()
	var c cache
	var asked atomic.Int64
	var wg sync.WaitGroup
	release := make(chan struct{})
	want := &Identity{Alias: "a"}
	for range 50 {
		wg.Go(func() {
			got, err := c.get(t.Context(), "a", func(context.Context, string) (*Identity, error) {
				asked.Add(1)
				<-release
				return want, nil
			})
			if err != nil || got != want {
				t.Errorf("get = %v, %v", got, err)
			}
		})
	}
	close(release)
	wg.Wait()
	require.EqualValues(t, 1, asked.Load())
}

func TestCacheKeepsNoErrors(t *testing.T) {
	t.Parallel()
	var c cache
	_, err := c.get(t.Context(), "a", func(context.Context, string) (*Identity, error) { return nil, ErrNotFound })
	require.ErrorIs(t, err, ErrNotFound)
	want := &Identity{}
	got, err := c.get(t.Context(), "a", func(context.Context, string) (*Identity, error) { return want, nil })
	require.NoError(t, err)
	require.Same(t, want, got)
}

// TestCacheWaiters has the goroutine that asks give up, and one that waits.
func TestCacheWaiters(t *testing.T) {
	t.Parallel()
	var c cache
	asking := make(chan struct{})
	first, cancelFirst := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := c.get(first, "a", func(ctx context.Context, _ string) (*Identity, error) {
			close(asking)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		result <- err
	}()
	<-asking
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.get(ended, "a", nil)
	require.ErrorIs(t, err, context.Canceled)

	want := &Identity{}
	waited := make(chan error, 1)
	go func() {
		got, err := c.get(t.Context(), "a", func(context.Context, string) (*Identity, error) { return want, nil })
		if got != want {
			err = errors.New("not what was resolved")
		}
		waited <- err
	}()
	cancelFirst()
	require.ErrorIs(t, <-result, context.Canceled)
	require.NoError(t, <-waited)
}

// TestCacheDropsWhatIsUnderWay keeps an answer from before a write from being
// kept after it.
func TestCacheDropsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	var c cache
	stale, fresh := &Identity{}, &Identity{}
	got, err := c.get(t.Context(), "a", func(context.Context, string) (*Identity, error) {
		c.drop()
		return stale, nil
	})
	require.NoError(t, err)
	require.Same(t, stale, got)
	got, err = c.get(t.Context(), "a", func(context.Context, string) (*Identity, error) { return fresh, nil })
	require.NoError(t, err)
	require.Same(t, fresh, got)

	epoch := c.now()
	c.drop()
	c.put("a", stale, epoch)
	require.Empty(t, c.aliases())
}

// TestReadersDuringReplacement has readers of this Store and of another while an
// identity is replaced again and again.
func TestReadersDuringReplacement(t *testing.T) {
	t.Parallel()
	s := newStore(&oddToken{Token: open(t).device, turns: new(sync.RWMutex)})
	key, first := identity(t, s, "terminal_pub", "terminal")
	chains := [][]*x509.Certificate{first, issue(testpki.NewRoot("other").NewIntermediate("other issuing"), "second", key.Public())}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				other := newStore(s.device)
				for _, reader := range []*Store{s, other} {
					id, err := reader.Identity(context.Background(), "terminal_pub")
					if err != nil || !beginsWith(id.Chain, chains[0]) && !beginsWith(id.Chain, chains[1]) {
						t.Errorf("neither the old nor the new identity, error %v", err)
						return
					}
				}
			}
		})
	}
	defer wg.Wait()
	defer close(done)
	for i := range 20 {
		require.NoError(t, s.Replace(t.Context(), "terminal_pub", chains[(i+1)%2]))
	}
}
