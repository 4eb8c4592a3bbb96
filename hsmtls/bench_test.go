// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// recorder keeps what a connection carried, to be shown to a guard later.
type recorder struct {
	net.Conn
	steps *[]step
}

func (r recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	*r.steps = append(*r.steps, step{true, append([]byte(nil), b[:n]...)})
	return n, err
}

func (r recorder) Write(b []byte) (int, error) {
	*r.steps = append(*r.steps, step{false, append([]byte(nil), b...)})
	return r.Conn.Write(b)
}

// benchWorld is a world with RSA-2048 keys and a server in this process.
func benchWorld(b *testing.B) (*world, string) {
	b.Helper()
	w := newWorld(b)
	w.identities(b, func() crypto.Signer { return rsaKey(b, 2048) })
	w.client.SessionLifetime = -1
	ln, err := w.server.Listen(b.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(b, err)
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(conn, conn); conn.Close() }()
		}
	}()
	return w, ln.Addr().String()
}

func BenchmarkFullHandshake(b *testing.B) {
	w, addr := benchWorld(b)
	for b.Loop() {
		conn, err := w.client.Dial(b.Context(), "tcp", addr, terminal)
		if err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
}

// BenchmarkGuard shows a recorded full handshake to a guard. Divide by
// BenchmarkFullHandshake, which has two guards at work, for the cost of one.
func BenchmarkGuard(b *testing.B) {
	w, addr := benchWorld(b)
	var steps []step
	d := &Dialer{Provider: w.client, Alias: terminal, NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return recorder{conn, &steps}, err
	}}
	conn, err := d.DialContext(b.Context(), "tcp", addr)
	require.NoError(b, err)
	require.NoError(b, conn.Close())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := play(Policy{}, 1<<20, steps...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkData sends 16 KiB there and back, through the stepped-aside wire
// connection of both sides and without any.
func BenchmarkData(b *testing.B) {
	w, addr := benchWorld(b)
	guarded, err := w.client.Dial(b.Context(), "tcp", addr, terminal)
	require.NoError(b, err)
	defer guarded.Close()
	b.Run("guarded", func(b *testing.B) { roundTrips(b, guarded) })

	cert, err := w.keys.Certificate(b.Context(), acquirer)
	require.NoError(b, err)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*cert}, MaxVersion: tls.VersionTLS12})
	require.NoError(b, err)
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			io.Copy(conn, conn)
			conn.Close()
		}
	}()
	bare, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{RootCAs: w.trust.roots, ServerName: host})
	require.NoError(b, err)
	defer bare.Close()
	b.Run("bare", func(b *testing.B) { roundTrips(b, bare) })
}

func roundTrips(b *testing.B, conn net.Conn) {
	buf := make([]byte, 16<<10)
	b.SetBytes(2 * int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
	}
}
