// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"errors"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRefreshDuringResolution has an identity replaced by another process while it is
// being read here, and Refresh called afterwards: what was read is not kept.
func TestRefreshDuringResolution(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, old := identity(t, s, "terminal_pub", "terminal")
	renewed := issue(authority(), "renewed", key.Public())
	var here *Store
	raced := false
	here = newStore(&oddToken{Token: s.device, afterwards: func(op string) error {
		if op != "ReadCertificates" || raced {
			return nil
		}
		raced = true
		return errors.Join(s.Replace(t.Context(), "terminal_pub", renewed), here.Refresh(t.Context()))
	}})
	c, err := here.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, old[0], c.Leaf, "it was read before")
	c, err = here.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, renewed[0], c.Leaf)
}

// TestRefreshesAtOnce has an identity replaced by another process while one Refresh
// is reading it, and another Refresh come and go: what the first has read is older.
func TestRefreshesAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, _ := identity(t, s, "terminal_pub", "terminal")
	renewed := issue(authority(), "renewed", key.Public())
	var here *Store
	armed := false
	here = newStore(&oddToken{Token: s.device, afterwards: func(op string) error {
		if op != "ReadCertificates" || !armed {
			return nil
		}
		armed = false
		return errors.Join(s.Replace(t.Context(), "terminal_pub", renewed), here.Refresh(t.Context()))
	}})
	_, err := here.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	armed = true
	require.NoError(t, here.Refresh(t.Context()))
	require.False(t, armed)
	c, err := here.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, renewed[0], c.Leaf)
}

// waiting is a context that tells when somebody comes to wait for it.
type waiting struct {
	context.Context
	tell func()
}

func (w waiting) Done() <-chan struct{} {
	w.tell()
	return w.Context.Done()
}

// TestCauseIsNotShared has the goroutine that asks end with a cause of its own, as in
// an errgroup, which is nothing to those that wait.
func TestCauseIsNotShared(t *testing.T) {
	t.Parallel()
	var c cache
	first, cancel := context.WithCancelCause(t.Context())
	asking := make(chan struct{})
	go func() {
		_, _ = c.get(first, "a", func(ctx context.Context, _ string) (*Identity, error) {
			close(asking)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
	}()
	<-asking
	want := &Identity{}
	second := waiting{t.Context(), func() { cancel(errors.New("somebody else's trouble")) }}
	got, err := c.get(second, "a", func(context.Context, string) (*Identity, error) { return want, nil })
	require.NoError(t, err)
	require.Same(t, want, got)
}

// TestDeleteKeyIsAWrite forgets an identity whose certificate another process has
// deleted.
func TestDeleteKeyIsAWrite(t *testing.T) {
	t.Parallel()
	s := open(t)
	identity(t, s, "terminal_pub", "terminal")
	_, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.NoError(t, newStore(s.device).DeleteCertificate(t.Context(), "terminal_pub"))
	told := 0
	defer s.Watch(func() { told++ })()
	require.NoError(t, s.DeleteKey(t.Context(), "terminal"))
	require.Equal(t, 1, told)
	_, err = s.Certificate(t.Context(), "terminal_pub")
	require.ErrorIs(t, err, ErrNotFound)
}

// TestRefusedReplaceMayWrite finishes the replacement that another process began,
// and forgets what was kept from before it, though its own chain is refused.
func TestRefusedReplaceMayWrite(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, old := identity(t, s, "terminal_pub", "terminal")
	_, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	renewed := issue(authority(), "renewed", key.Public())
	dying := newStore(&oddToken{Token: s.device, gate: func(op string) error {
		if op == "Destroy" {
			return errBroken
		}
		return nil
	}})
	require.ErrorIs(t, dying.Replace(t.Context(), "terminal_pub", renewed), errBroken)
	stranger := issue(authority(), "stranger", newP256(t).Public())
	require.ErrorIs(t, s.Replace(t.Context(), "terminal_pub", stranger), ErrMismatch)
	c, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.NotEqual(t, old[0], c.Leaf)
	require.Equal(t, renewed[0], c.Leaf)
}

// TestRequestWithoutURI has a nil where a URI should be.
func TestRequestWithoutURI(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, chain := identity(t, s, "terminal_pub", "terminal")
	r := Request{DNSNames: []string{"x.test"}, URIs: []*url.URL{nil}}
	_, err := s.CSR(t.Context(), "terminal", r)
	require.Error(t, err)
	_, err = s.RequestRenewal(t.Context(), "terminal_pub", Renewal{Request: &r})
	require.Error(t, err)
	later := issue(authority(), "terminal_pub", key.Public())
	_, err = s.AcceptRenewal(t.Context(), "terminal_pub", Renewal{Request: &r, AllowEarlier: true}, later)
	require.Error(t, err)
	require.NotEqual(t, chain, later)
}
