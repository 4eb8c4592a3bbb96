// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	server := Config{Mode: Server, Alias: alias, Listen: ":8443", Target: "127.0.0.1:80", AllowAll: true}
	client := Config{Mode: Client, Alias: alias, Listen: "[::1]:80", Target: "192.0.2.1:8443"}
	tests := []struct {
		name   string
		base   Config
		change func(*Config)
		want   error
	}{
		{"server", server, func(*Config) {}, nil},
		{"client", client, func(*Config) {}, nil},
		{"no mode", server, func(c *Config) { c.Mode = 0 }, ErrConfig},
		{"no alias", server, func(c *Config) { c.Alias = "" }, ErrConfig},
		{"no port", server, func(c *Config) { c.Listen = "127.0.0.1" }, ErrConfig},
		{"empty port", server, func(c *Config) { c.Target = "127.0.0.1:" }, ErrConfig},
		{"abstract socket", server, func(c *Config) { c.Target = "unix:@x" }, ErrConfig},
		{"no path", client, func(c *Config) { c.Listen = "unix:" }, ErrConfig},
		{"negative count", server, func(c *Config) { c.MaxConns = -1 }, ErrConfig},
		{"negative pending", server, func(c *Config) { c.MaxPending = -1 }, ErrConfig},
		{"negative timeout", server, func(c *Config) { c.ConnectTimeout = -1 }, ErrConfig},
		{"empty rule", server, func(c *Config) { c.AllowAll, c.Rules.CommonNames = false, []string{""} }, ErrConfig},
		{"no rule", server, func(c *Config) { c.AllowAll = false }, ErrNoRules},
		{"rules and all", server, func(c *Config) { c.Rules.Units = []string{"x"} }, ErrConfig},
		{"server with a name", server, func(c *Config) { c.ServerName = "x" }, ErrConfig},
		{"target on the network", server, func(c *Config) { c.Target = "192.0.2.1:80" }, ErrPlain},
		{"target by name", server, func(c *Config) { c.Target = "db.example:80" }, ErrPlain},
		{"target without host", server, func(c *Config) { c.Target = ":80" }, ErrPlain},
		{"target on the network, knowingly", server, func(c *Config) { c.Target, c.UnsafePlain = "192.0.2.1:80", true }, nil},
		{"target at localhost", server, func(c *Config) { c.Target = "localhost:80" }, nil},
		{"target with mapped loopback", server, func(c *Config) { c.Target = "[::ffff:127.0.0.1]:80" }, nil},
		{"target socket", server, func(c *Config) { c.Target = "unix:/run/x" }, nil},
		{"client on the network", client, func(c *Config) { c.Listen = "0.0.0.0:80" }, ErrPlain},
		{"client everywhere", client, func(c *Config) { c.Listen = ":80" }, ErrPlain},
		{"client everywhere, knowingly", client, func(c *Config) { c.Listen, c.UnsafePlain = ":80", true }, nil},
		{"client with PROXY protocol", client, func(c *Config) { c.ProxyProtocol = true }, ErrConfig},
		{"client of a nameless socket", client, func(c *Config) { c.Target = "unix:/run/x" }, ErrConfig},
		{"client of a socket", client, func(c *Config) { c.Target, c.ServerName = "unix:/run/x", host }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := tt.base
			tt.change(&cfg)
			require.ErrorIs(t, cfg.Check(), tt.want)
		})
	}
}

func TestListenNeedsAProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, cfg := range []Config{w.serverConfig("127.0.0.1:1"), w.clientConfig("127.0.0.1:1")} {
		provider := cfg.Provider
		for _, p := range []*hsmtls.Provider{nil, {Keys: provider.Keys}} {
			cfg.Provider = p
			_, err := Listen(t.Context(), cfg)
			require.ErrorIs(t, err, ErrConfig)
		}
		cfg.Provider = &hsmtls.Provider{Trust: provider.Trust}
		_, err := Listen(t.Context(), cfg)
		require.ErrorIs(t, err, hsmtls.ErrIncomplete)
	}
	w.client.set(nil)
	_, err := Listen(t.Context(), w.clientConfig("127.0.0.1:1"))
	require.ErrorIs(t, err, hsmtls.ErrIncomplete)
	require.ErrorIs(t, err, errNoAlias)
}

// TestLocalhostIsLookedAt has the address that was resolved decide.
func TestLocalhostIsLookedAt(t *testing.T) {
	t.Parallel()
	require.NoError(t, loopbackOnly("tcp4", "127.0.0.1:80", nil))
	require.NoError(t, loopbackOnly("tcp6", "[::1]:80", nil))
	require.ErrorIs(t, loopbackOnly("tcp4", "192.0.2.1:80", nil), ErrPlain)
	_, err := address{"tcp", "192.0.2.1:80"}.dial(context.Background(), 0, true)
	require.ErrorIs(t, err, ErrPlain)
	_, err = address{"tcp", "0.0.0.0:0"}.listen(context.Background(), true)
	require.ErrorIs(t, err, ErrPlain)
}

// TestSocketIsItsOwners holds the mode of a client's socket.
func TestSocketIsItsOwners(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "plain")
	cfg := w.clientConfig("127.0.0.1:1")
	cfg.Listen = "unix:" + path
	require.Equal(t, cfg.Listen, "unix:"+w.start(cfg).Addr().String())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	again := w.clientConfig("127.0.0.1:1")
	again.Listen = cfg.Listen
	_, err = Listen(t.Context(), again)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}

// TestAcceptGoesOn has a listener fail now and then.
func TestAcceptGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.serverConfig(w.target(echo))
	tunnel, err := Listen(t.Context(), s)
	require.NoError(t, err)
	tunnel.ln = &moody{Listener: tunnel.ln, failures: 3}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tunnel.Serve(ctx) }()
	conn := w.mustDial(tunnel.Addr().String())
	require.NoError(t, ping(conn))
	require.NoError(t, conn.Close())
	cancel()
	require.NoError(t, <-done)
}

// A moody listener fails at first.
type moody struct {
	net.Listener
	failures int
}

func (m *moody) Accept() (net.Conn, error) {
	if m.failures > 0 {
		m.failures--
		return nil, errors.New("too many open files")
	}
	return m.Listener.Accept()
}

// TestProxyProtocol compares the bytes that a target gets.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := make(chan []byte, 2)
	cfg := w.serverConfig(w.target(func(conn net.Conn) {
		all, _ := io.ReadAll(conn)
		got <- all
	}))
	cfg.ProxyProtocol = true
	s := w.start(cfg)
	d := hsmtls.Dialer{Provider: &hsmtls.Provider{Keys: w.client, Trust: w.client}, Alias: alias, ServerName: host}
	for _, flags := range []string{"\x07", "\x05"} { // the second is resumed
		conn, err := d.DialContext(t.Context(), "tcp", s.address())
		require.NoError(t, err)
		_, err = conn.Write([]byte("body"))
		require.NoError(t, err)
		suite := tls.CipherSuiteName(conn.(*tls.Conn).ConnectionState().CipherSuite)
		closeWrite(conn)
		ssl := flags + "\x00\x00\x00\x00" + "\x21\x00\x07TLSv1.2" + "\x22\x00\x04till" + "\x23" + length(suite) + suite
		body := "\x7f\x00\x00\x01\x7f\x00\x00\x01" + port(conn.LocalAddr()) + port(conn.RemoteAddr()) + "\x20" + length(ssl) + ssl
		want := "\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a" + "\x21\x11" + length(body) + body + "body"
		require.Equal(t, []byte(want), <-got)
		require.NoError(t, conn.Close())
	}
}

func length(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s))))
}

func port(a net.Addr) string {
	return string(binary.BigEndian.AppendUint16(nil, a.(*net.TCPAddr).AddrPort().Port()))
}

// TestProxyHeaderIsWritten has a target that is gone before it was told who comes.
func TestProxyHeaderIsWritten(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	require.NoError(t, far.Close())
	require.ErrorIs(t, introduce(near, []byte("x"), time.Hour), io.ErrClosedPipe)
	near, far = net.Pipe()
	defer far.Close()
	require.ErrorIs(t, introduce(near, []byte("x"), time.Millisecond), os.ErrDeadlineExceeded)
}

func TestProxyAddresses(t *testing.T) {
	t.Parallel()
	tcp := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	tests := []struct {
		name     string
		from, to net.Addr
		family   byte
		want     string
	}{
		{"IPv4", tcp("192.0.2.1", 1), tcp("192.0.2.2", 258), 0x11, "\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x01\x02"},
		{"IPv4 in IPv6", tcp("::ffff:192.0.2.1", 1), tcp("192.0.2.2", 2), 0x11, "\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02"},
		{"IPv6", tcp("2001:db8::1", 1), tcp("::1", 2), 0x21,
			"\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + strings.Repeat("\x00", 15) + "\x01\x00\x01\x00\x02"},
		{"one of each", tcp("::1", 1), tcp("192.0.2.2", 2), 0x21,
			strings.Repeat("\x00", 15) + "\x01" + strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x02\x00\x01\x00\x02"},
		{"Unix", &net.UnixAddr{Name: "@"}, &net.UnixAddr{Name: "/run/x"}, 0x31,
			strings.Repeat("\x00", 108) + "/run/x" + strings.Repeat("\x00", 102)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			family, body := proxyAddresses(tt.from, tt.to)
			require.Equal(t, tt.family, family)
			require.Equal(t, []byte(tt.want), body)
		})
	}
}

// TestProxyNameIsWhole leaves a name out that is too long, or would end early in C, for its
// beginning would be another's.
func TestProxyNameIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{strings.Repeat("n", maxName+1), "nnn\x00.example"} {
		template := w.root.Client("x").Leaf
		template.Subject.CommonName, template.RawSubject = name, nil
		leaf := w.root.Issue(template, template.PublicKey)
		body := appendSSL(nil, tls.ConnectionState{Version: tls.VersionTLS13, PeerCertificates: []*x509.Certificate{leaf}})
		require.False(t, bytes.Contains(body, []byte("nnn")))
		require.True(t, bytes.Contains(body, []byte("TLSv1.3")))
	}
}
