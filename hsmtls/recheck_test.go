// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var errWithdrawn = errors.New("withdrawn")

// watchedTrust can withdraw a peer, and tells of it.
type watchedTrust struct {
	*fakeTrust
	mu        sync.Mutex
	withdrawn *x509.Certificate
	watching  []func()
	stopped   int
}

func (w *watchedTrust) Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	w.mu.Lock()
	withdrawn := w.withdrawn
	w.mu.Unlock()
	if withdrawn != nil && withdrawn.Equal(chain[0]) {
		return nil, errWithdrawn
	}
	return w.fakeTrust.Verify(chain, name, usage, at)
}

func (w *watchedTrust) Watch(changed func()) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watching = append(w.watching, changed)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stopped++
	}
}

func (w *watchedTrust) withdraw(c *x509.Certificate) {
	w.mu.Lock()
	w.withdrawn = c
	w.gen.Add(1)
	watching := slices.Clone(w.watching)
	w.mu.Unlock()
	for _, changed := range watching {
		changed()
	}
}

func (w *watchedTrust) counts() (watching, stopped int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.watching), w.stopped
}

// A peer that is withdrawn loses its open connections, on either side; others
// keep theirs.
func TestWithdrawnPeer(t *testing.T) {
	t.Parallel()
	for _, client := range []bool{false, true} {
		w := newWorld(t)
		trust := &watchedTrust{fakeTrust: w.trust}
		side, cert := w.server, w.keys.certs[terminal].Leaf
		if client {
			side, cert = w.client, w.keys.certs[acquirer].Leaf
		}
		side.Trust = trust
		s := w.listen(t)
		conn, err := w.dial(t, s)
		require.NoError(t, err)
		ping(t, conn)
		trust.withdraw(nil)
		ping(t, conn)

		trust.withdraw(cert)
		_, err = conn.Read(make([]byte, 1))
		require.Error(t, err)
		if client {
			require.ErrorIs(t, err, ErrPeerWithdrawn)
		}
		watching, stopped := trust.counts()
		require.Equal(t, 1, watching)
		require.Eventually(t, func() bool { _, stopped = trust.counts(); return stopped == 1 }, patience, time.Millisecond)
		_, err = w.dial(t, s)
		if client {
			require.ErrorIs(t, err, errWithdrawn)
		}
	}
}

func TestRecheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Zero(t, w.client.Recheck())
	require.Zero(t, new(Provider).Recheck())
	s := w.listen(t)
	for range 2 {
		conn, err := w.dial(t, s)
		require.NoError(t, err)
		ping(t, conn)
	}
	require.Zero(t, w.client.Recheck())
	w.client.VerifyPeer = func(tls.ConnectionState) error { return errWithdrawn }
	require.Equal(t, 2, w.client.Recheck())
	require.Zero(t, w.client.Recheck())
}

// Trust that changes between its answer and the end of the handshake is asked
// again.
func TestWithdrawnMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	trust := &watchedTrust{fakeTrust: w.trust}
	w.client.Trust = trust
	s := w.listen(t)
	w.clientKey.before = func() { trust.withdraw(w.keys.certs[acquirer].Leaf) } // after the server was accepted
	conn, err := w.dial(t, s)
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrPeerWithdrawn)
}

func TestWithdrawnTransport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	trust := &watchedTrust{fakeTrust: w.trust}
	w.client.Trust = trust
	ln, err := w.server.Listen(t.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	transport := w.client.Transport(Alias(terminal))
	t.Cleanup(transport.CloseIdleConnections)
	get := func() error {
		response, err := (&http.Client{Transport: transport}).Get("https://" + ln.Addr().String())
		if err == nil {
			err = response.Body.Close()
		}
		return err
	}
	require.NoError(t, get())
	trust.withdraw(w.keys.certs[acquirer].Leaf)
	w.client.Recheck()
	require.Error(t, get())
	require.ErrorIs(t, get(), errWithdrawn)
}
