// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// claim asks a for a place on behalf of source and returns how to end the
// handshake.
func claim(t *testing.T, a *admission, source string) (end func(), err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return cancel, a.entry(ctx, source, time.Hour).admit()
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Admission{Handshakes: 3, PerSource: 2})
		end, err := claim(t, a, "a")
		require.NoError(t, err)
		_, err = claim(t, a, "a")
		require.NoError(t, err)

		_, err = claim(t, a, "a")
		var shed *ShedError
		require.ErrorAs(t, err, &shed)
		require.Equal(t, ShedError{Source: "a", PerSource: true}, *shed)

		_, err = claim(t, a, "b")
		require.NoError(t, err)
		require.Equal(t, AdmissionCounters{Holding: 3, Admitted: 3, ShedBySource: 1}, a.snapshot())

		got := make(chan error)
		go func() {
			_, err := claim(t, a, "c")
			got <- err
		}()
		synctest.Wait()
		require.Equal(t, 1, a.snapshot().Waiting)
		end() // frees a place
		require.NoError(t, <-got)
	})
}

func TestAdmissionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(Admission{Handshakes: 1})
		end, err := claim(t, a, "a")
		require.NoError(t, err)

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		e := a.entry(ctx, "b", time.Hour)
		require.ErrorAs(t, e.admit(), new(*ShedError), "the handshake ended while it waited")
		require.ErrorAs(t, e.admit(), new(*ShedError), "asked again, the same answer")
		require.EqualValues(t, 1, a.snapshot().ShedBusy)

		require.ErrorAs(t, a.entry(t.Context(), "c", time.Millisecond).admit(), new(*ShedError), "waited too long")
		end()
		synctest.Wait()
		require.Zero(t, a.snapshot().Holding)

		require.NoError(t, a.entry(t.Context(), "d", time.Millisecond).admit())
		require.Equal(t, 1, a.snapshot().Holding)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Zero(t, a.snapshot().Holding, "held no longer than the limit")
		require.Empty(t, a.sources)
	})
}

func TestAdmissionBoundsWaiting(t *testing.T) {
	t.Parallel()
	a := newAdmission(Admission{Handshakes: 1})
	end, err := claim(t, a, "")
	require.NoError(t, err)
	a.mu.Lock()
	a.count.Waiting = waitersPerPlace
	a.mu.Unlock()
	_, err = claim(t, a, "b")
	require.ErrorAs(t, err, new(*ShedError))
	end()
}

// TestAdmissionOnServer holds a place with a client that never proves itself.
func TestAdmissionOnServer(t *testing.T) {
	t.Parallel()
	for name, lifetime := range map[string]time.Duration{"tickets": 0, "no tickets": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.server.Admission.PerSource = 1
			w.server.SessionLifetime = lifetime
			s := w.listen(t)
			require.False(t, w.resumed(t, s))
			require.NoError(t, <-s.result)
			require.Eventually(t, func() bool { return w.server.AdmissionCounters().Holding == 0 }, patience, time.Millisecond)

			stranger := w.stall(t, s)
			require.Eventually(t, func() bool { return w.server.AdmissionCounters().Holding == 1 }, patience, time.Millisecond)
			if lifetime >= 0 {
				require.True(t, w.resumed(t, s), "a resumed handshake needs no place")
				require.NoError(t, <-s.result)
			}
			fresh := *w
			fresh.client = &Provider{Keys: w.keys, Trust: w.trust}
			_, err := fresh.dial(t, s)
			require.Error(t, err)
			var shed *ShedError
			require.ErrorAs(t, <-s.result, &shed)
			require.Equal(t, ShedError{Source: "127.0.0.1", PerSource: true}, *shed)
			require.EqualValues(t, 2, w.serverKey.signed.Load(), "nothing was signed for the shed one")

			stranger.Close()
			require.Error(t, <-s.result)
			require.Eventually(t, func() bool { return w.server.AdmissionCounters().Holding == 0 }, patience, time.Millisecond)
			_, err = fresh.dial(t, s)
			require.NoError(t, err)
		})
	}
}

// stall makes the server sign and then says nothing more.
func (w *world) stall(t *testing.T, s *echoServer) net.Conn {
	t.Helper()
	raw, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	ready := make(chan struct{})
	var once sync.Once
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			once.Do(func() { close(ready) })
			<-t.Context().Done() // the test is over
			return nil, errors.New("never")
		}})
	go client.Handshake()
	t.Cleanup(func() { raw.Close() })
	<-ready
	return raw
}

func TestRefusalsAreLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log lockedBuffer
	w.server.Logger = slog.New(slog.NewTextHandler(&log, nil))
	w.server.SignTimeout = time.Millisecond
	release := w.hang(t, w.serverKey)
	defer release()
	s := w.listen(t)
	_, err := w.dial(t, s)
	require.Error(t, err)
	require.Error(t, <-s.result)
	require.Contains(t, log.String(), ErrSignTimeout.Error())
	require.Contains(t, log.String(), "source=127.0.0.1")
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSource(t *testing.T) {
	t.Parallel()
	tests := []struct{ addr, want string }{
		{"192.0.2.1:1234", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:1234", "192.0.2.1"},
		{"[2001:db8:1:2:3:4:5:6]:1234", "2001:db8:1:2::/64"},
		{"[fe80::1%eth0]:1234", "fe80::/64"},
	}
	for _, tt := range tests {
		addr, err := net.ResolveTCPAddr("tcp", tt.addr)
		if err != nil { // a zone of another machine
			continue
		}
		require.Equal(t, tt.want, source(addrConn{addr: addr}))
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	require.Equal(t, "pipe", source(a))
	require.Empty(t, source(addrConn{}))
}

type addrConn struct {
	net.Conn
	addr net.Addr
}

func (c addrConn) RemoteAddr() net.Addr { return c.addr }
