// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// trickle is a connection that reads and writes a byte at a time.
type trickle struct {
	net.Conn
	r io.Reader
}

func newTrickle(conn net.Conn) *trickle { return &trickle{conn, iotest.OneByteReader(conn)} }

func (c *trickle) Read(b []byte) (int, error) { return c.r.Read(b) }

func (c *trickle) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// trickleListener accepts connections that trickle.
type trickleListener struct{ net.Listener }

func (l trickleListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newTrickle(conn), nil
}

// TestWireTrickle runs full and resumed handshakes and data through the guard a
// byte at a time, on both sides.
func TestWireTrickle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln, err := (&ListenConfig{Provider: w.server, Alias: acquirer}).NewListener(t.Context(), trickleListener{inner})
	require.NoError(t, err)
	s := echo(t, ln)
	d := &Dialer{Provider: w.client, Alias: terminal, NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return newTrickle(conn), nil
	}}
	for i := range 3 {
		conn, err := d.DialContext(t.Context(), "tcp", s.addr)
		require.NoError(t, err)
		require.Equal(t, i > 0, conn.(*tls.Conn).ConnectionState().DidResume)
		ping(t, conn)
		require.NoError(t, conn.Close())
	}
}

// TestWireStepsAside shows that after the handshake the guard is out of the way.
func TestWireStepsAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	for range 2 { // full, then resumed
		conn, err := w.dial(t, s)
		require.NoError(t, err)
		for _, c := range []*tls.Conn{conn, <-s.conns} {
			wire := c.NetConn().(*wireConn)
			require.True(t, wire.fromPeer.done && wire.toPeer.done)
			require.Empty(t, wire.fromPeer.msg.body)
			require.Empty(t, wire.toPeer.msg.body)
		}
	}
}

// TestWireAlert shows that a refused peer is told why, in the clear, and that
// the refusal reaches the caller.
func TestWireAlert(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answers := map[string]struct {
		answer step
		rule   Rule
		alert  byte
	}{
		"version":       {answered(hello{version: tls.VersionTLS11}.server()), RuleVersion, alertProtocolVersion},
		"renegotiation": {answered(hello{noReneg: true}.server()), RuleRenegotiation, alertHandshakeFailure},
		"EMS":           {answered(hello{noEMS: true}.server()), RuleExtendedMasterSecret, alertHandshakeFailure},
		"garbage":       {step{true, []byte("220 mail ESMTP\r\n")}, RuleRecord, alertUnexpectedMessage},
		"SHA-1": {answered(hello{}.server(), keyExchange(namedCurve, tls.X25519, tls.PKCS1WithSHA1)),
			RuleSignature, alertIllegalParameter},
	}
	for name, tt := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := net.Pipe()
			defer theirs.Close()
			d := &Dialer{Provider: w.client, Alias: terminal, NetDial: func(context.Context, string, string) (net.Conn, error) {
				return patient{ours}, nil
			}}
			got := make(chan []byte, 1)
			go func() {
				theirs.Read(make([]byte, 4096)) // ClientHello
				theirs.Write(tt.answer.bytes)
				alert, _ := io.ReadAll(theirs)
				got <- alert
			}()
			_, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:1")
			requireRule(t, err, tt.rule)
			require.Equal(t, []byte{21, 3, 3, 0, 2, 2, tt.alert}, <-got)
		})
	}
}

// patient writes without a deadline.
type patient struct{ net.Conn }

func (patient) SetWriteDeadline(time.Time) error { return nil }

// TestWireAlertDoesNotBlock refuses a peer that has stopped reading.
func TestWireAlertDoesNotBlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		wire := newWireConn(ours, roleClient, Policy{})
		go theirs.Write([]byte("garbage"))
		start := time.Now()
		_, err := wire.Read(make([]byte, 100))
		requireRule(t, err, RuleRecord)
		require.Equal(t, alertPatience, time.Since(start))
		_, again := wire.Read(make([]byte, 100))
		require.Equal(t, err, again)
		_, again = wire.Write([]byte("more"))
		require.Equal(t, err, again)
		require.NoError(t, wire.Close())
	})
}

// TestListenRefusesGarbage shows that plain HTTP on the port is not answered in
// plain HTTP.
func TestListenRefusesGarbage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addr := w.httpServer(t)
	raw, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer raw.Close()
	_, err = io.WriteString(raw, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	answer, _ := io.ReadAll(raw)
	require.Equal(t, []byte{21, 3, 3, 0, 2, 2, alertUnexpectedMessage}, answer)
}

func TestReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	for i := range 2 {
		conn, err := w.dial(t, s)
		require.NoError(t, err)
		ping(t, conn)
		accepted := <-s.conns
		w.clock.advance(time.Minute)

		client, err := Report(conn)
		require.NoError(t, err)
		server, err := Report(accepted)
		require.NoError(t, err)
		for _, r := range []ConnReport{client, server} {
			require.Equal(t, uint16(tls.VersionTLS12), r.Version)
			require.Contains(t, cipherSuites, r.CipherSuite)
			require.Contains(t, curves, r.Curve)
			require.True(t, r.ExtendedMasterSecret)
			require.Equal(t, i == 1, r.Resumed)
			require.Equal(t, time.Duration(i+1)*time.Minute, r.HandshakeAge)
			require.Len(t, r.Chain, 3)
			require.Equal(t, w.root.Certificate, r.Entry)
			if i == 0 {
				require.Equal(t, tls.ECDSAWithP256AndSHA256, r.ServerSignature)
				require.Equal(t, tls.ECDSAWithP256AndSHA256, r.ClientSignature)
			} else {
				require.Zero(t, r.ServerSignature)
				require.Zero(t, r.ClientSignature)
			}
		}
		require.Equal(t, terminal, client.Alias)
		require.Equal(t, acquirer, server.Alias)
		require.Equal(t, host, client.Peer.DNSNames[0])
		require.Equal(t, "terminal 1", server.Peer.Subject.CommonName)
	}
}

func TestNoReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	_, err := Report(ours)
	require.ErrorIs(t, err, ErrNoReport)
	_, err = Report(tls.Client(ours, &tls.Config{}))
	require.ErrorIs(t, err, ErrNoReport)
	_, err = Report(nil)
	require.ErrorIs(t, err, ErrNoReport)

	ln, err := w.server.Listen(t.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(t, err)
	defer ln.Close()
	raw, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer raw.Close()
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = Report(conn)
	require.ErrorIs(t, err, ErrNoReport, "no handshake yet")

	_, err = raw.Write(record(recordTypeHandshake, hello{noEMS: true}.client()))
	require.NoError(t, err)
	requireRule(t, conn.(*tls.Conn).Handshake(), RuleExtendedMasterSecret)
	_, err = Report(conn)
	require.ErrorIs(t, err, ErrNoReport)
	requireRule(t, err, RuleExtendedMasterSecret)
}

// TestReportRefusedSignature shows where the reason is that crypto/tls keeps
// only as text.
func TestReportRefusedSignature(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.SignTimeout = time.Millisecond
	release := w.hang(t, w.serverKey)
	defer release()
	ln, err := w.server.Listen(t.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(t, err)
	defer ln.Close()
	go w.client.Dial(t.Context(), "tcp", ln.Addr().String(), terminal)
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.Error(t, conn.(*tls.Conn).Handshake())
	_, err = Report(conn)
	require.ErrorIs(t, err, ErrSignTimeout)
}
