// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// accepted returns a connection to w's server on which client is at work, and whose
// handshake has not begun.
func (w *world) accepted(t *testing.T, client func(addr string) (net.Conn, error)) *tls.Conn {
	t.Helper()
	ln, err := w.server.Listen(t.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := client(ln.Addr().String()); err == nil {
			_, _ = conn.Read(make([]byte, 1))
			conn.Close()
		}
	}()
	conn, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.(*tls.Conn)
}

func (w *world) dials(addr string) (net.Conn, error) {
	d := Dialer{Provider: w.client, Alias: terminal}
	return d.DialContext(context.Background(), "tcp", addr)
}

// babbles is a client that does not speak TLS.
func babbles(addr string) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		_, err = conn.Write([]byte("GET / HTTP/1.1\r\n"))
	}
	return conn, err
}

// TestReportBeforeTheHandshake asks when the handshake is about to begin, and to be
// refused. What is wrong then, only the race detector sees.
func TestReportBeforeTheHandshake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.VerifyPeer = func(tls.ConnectionState) error { return errors.New("not this one") }
	for name, client := range map[string]func(string) (net.Conn, error){"VerifyPeer": w.dials, "guard": babbles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := w.accepted(t, client)
			reported := make(chan error, 1)
			go func() {
				_, err := Report(conn)
				reported <- err
			}()
			time.Sleep(50 * time.Millisecond) // most likely it has reported
			refused := conn.Handshake()
			require.Error(t, refused)
			require.ErrorIs(t, <-reported, ErrNoReport)
			_, err := Report(conn)
			require.ErrorIs(t, err, refused)
		})
	}
}

// TestGivenUpWhileThePeerIsVerified ends the context of a server's handshake before
// it is known whether the peer is accepted.
func TestGivenUpWhileThePeerIsVerified(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.server.VerifyPeer = func(tls.ConnectionState) error {
		cancel()
		time.Sleep(50 * time.Millisecond) // most likely it has been noticed
		return nil
	}
	conn := w.accepted(t, w.dials)
	require.ErrorIs(t, conn.HandshakeContext(ctx), context.Canceled)
}
