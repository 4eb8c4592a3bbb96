// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/fips140"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pipes is a network in memory and a listener on it. In a bubble of synctest no
// time passes while either side is at work, which sockets cannot promise.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, open := <-p; open {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error { close(p); return nil }

func (pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p <- theirs
	return ours, nil
}

// bubble is synctest.Test with handshakes inside. FIPS mode draws entropy from the
// jitter of the clock, of which a bubble has none: there the test is skipped.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if fips140.Enabled() {
		t.Skip("NOT TESTED in FIPS mode, whose entropy source fails in a bubble")
	}
	synctest.Test(t, f)
}

// pipe serves w's server until the test ends and returns how its client dials it.
func (w *world) pipe(t *testing.T) (*echoServer, *Dialer) {
	t.Helper()
	network := make(pipes)
	ln, err := (&ListenConfig{Provider: w.server, Alias: acquirer}).NewListener(t.Context(), network)
	require.NoError(t, err)
	return echo(t, ln), &Dialer{Provider: w.client, Alias: terminal, NetDial: network.dial}
}

func TestDialHandshakeTimeout(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.client.HandshakeTimeout = time.Minute
		d := &Dialer{Provider: w.client, Alias: terminal, NetDial: make(pipes, 2).dial} // nobody accepts

		start := time.Now()
		_, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:1")
		require.ErrorIs(t, err, ErrHandshakeTimeout)
		require.Equal(t, time.Minute, time.Since(start))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = d.DialContext(ctx, "tcp", "127.0.0.1:1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrHandshakeTimeout, "the caller's own deadline")
	})
}

func TestListenHandshakeTimeout(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.HandshakeTimeout = time.Minute
		s, d := w.pipe(t)
		start := time.Now()
		raw, err := d.NetDial(t.Context(), "tcp", s.addr)
		require.NoError(t, err)
		defer raw.Close()
		require.ErrorIs(t, <-s.result, ErrHandshakeTimeout)
		require.Equal(t, time.Minute, time.Since(start))

		conn, err := d.DialContext(t.Context(), "tcp", s.addr)
		require.NoError(t, err)
		defer conn.Close()
		time.Sleep(2 * time.Minute)
		ping(t, conn) // a finished handshake is not timed out
	})
}

func TestMaxConnAge(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				map[string]*Provider{"client": w.client, "server": w.server}[side].MaxConnAge = time.Hour
				s, d := w.pipe(t)
				start := time.Now()
				conn, err := d.DialContext(t.Context(), "tcp", s.addr)
				require.NoError(t, err)
				defer conn.Close()
				time.Sleep(time.Hour - time.Nanosecond)
				ping(t, conn)
				_, err = conn.Read(make([]byte, 1))
				require.Equal(t, time.Hour, time.Since(start))
				if side == "client" {
					require.ErrorIs(t, err, ErrConnExpired)
					return
				}
				require.Equal(t, io.EOF, err, "the server says close_notify")
			})
		})
	}
}
