// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestMain(m *testing.M) { os.Exit(hsmtest.LeakFree(m.Run())) }

const (
	alias = "gateway_pub"
	host  = "gateway.example"
)

var errNoAlias = errors.New("no such alias")

// memory is Keys and Trust in memory, of one root.
type memory struct {
	mu    sync.Mutex
	cert  *tls.Certificate
	roots *x509.CertPool
	gen   uint64
}

func (m *memory) Certificate(context.Context, string) (*tls.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cert == nil {
		return nil, errNoAlias
	}
	return m.cert, nil
}

func (m *memory) set(cert *tls.Certificate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cert = cert
}

// trust replaces the roots.
func (m *memory) trust(roots *x509.CertPool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roots = roots
	m.gen++
}

// Generation has the Provider make up for a change that it was not told of.
func (m *memory) Generation() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gen
}

func (m *memory) Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	chains, err := chain[0].Verify(x509.VerifyOptions{Roots: m.roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: at})
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

// A world is a CA, a server, a client and a plain target.
type world struct {
	t              *testing.T
	root           *testpki.CA
	server, client *memory
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, root: testpki.NewRoot("root")}
	server, client := w.root.Server(host), w.root.Client("till")
	w.server, w.client = w.memory(&server), w.memory(&client)
	return w
}

func (w *world) memory(cert *tls.Certificate) *memory {
	roots := x509.NewCertPool()
	roots.AddCert(w.root.Certificate)
	return &memory{cert: cert, roots: roots}
}

// target serves plain connections until the test ends, and returns its address.
func (w *world) target(serve func(net.Conn)) string {
	return w.targetAt("tcp", "127.0.0.1:0", serve).String()
}

func (w *world) targetAt(network, addr string, serve func(net.Conn)) net.Addr {
	w.t.Helper()
	ln, err := net.Listen(network, addr)
	require.NoError(w.t, err)
	var working sync.WaitGroup
	working.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			working.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	w.t.Cleanup(func() { ln.Close(); working.Wait() })
	return ln.Addr()
}

func echo(conn net.Conn) {
	_, _ = io.Copy(conn, conn)
	closeWrite(conn)
}

// serverConfig is a server that lets everybody in.
func (w *world) serverConfig(target string) Config {
	return Config{
		Mode: Server, Provider: &hsmtls.Provider{Keys: w.server, Trust: w.server}, Alias: alias,
		Listen: "127.0.0.1:0", Target: target, AllowAll: true,
	}
}

func (w *world) clientConfig(target string) Config {
	return Config{
		Mode: Client, Provider: &hsmtls.Provider{Keys: w.client, Trust: w.client}, Alias: alias,
		Listen: "127.0.0.1:0", Target: target, ServerName: host,
	}
}

// A running tunnel, and what it logs.
type running struct {
	*Tunnel
	t     *testing.T
	drain func()     // ends the context of Serve
	done  chan error // the result of Serve, kept
	log   chan slog.Record
}

func (w *world) start(cfg Config) *running {
	w.t.Helper()
	r := &running{t: w.t, done: make(chan error, 1), log: make(chan slog.Record, 10000)}
	cfg.Logger = slog.New(recorder{r.log})
	tunnel, err := Listen(w.t.Context(), cfg)
	require.NoError(w.t, err)
	r.Tunnel = tunnel
	ctx, cancel := context.WithCancel(w.t.Context())
	r.drain = cancel
	go func() { r.done <- tunnel.Serve(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		r.served()
	})
	return r
}

// served waits for the end of Serve.
func (r *running) served() error {
	err := <-r.done
	r.done <- err
	return err
}

func (r *running) address() string { return r.Addr().String() }

// ended waits until a connection has ended for that reason.
func (r *running) ended(why Reason) slog.Record {
	r.t.Helper()
	for record := range r.log {
		if reason, ok := attr(record, "reason"); ok && reason == string(why) {
			return record
		}
	}
	return slog.Record{}
}

// said waits for a message.
func (r *running) said(message string) slog.Record {
	r.t.Helper()
	for record := range r.log {
		if record.Message == message {
			return record
		}
	}
	return slog.Record{}
}

func attr(r slog.Record, key string) (value string, ok bool) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == key {
			value, ok = a.Value.String(), true
		}
		return !ok
	})
	return value, ok
}

// cause is the error of a record.
func cause(r slog.Record) (err error) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			err, _ = a.Value.Any().(error)
		}
		return err == nil
	})
	return err
}

// recorder is a slog.Handler that sends.
type recorder struct{ to chan slog.Record }

func (recorder) Enabled(context.Context, slog.Level) bool { return true }
func (h recorder) Handle(_ context.Context, r slog.Record) error {
	h.to <- r
	return nil
}
func (h recorder) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h recorder) WithGroup(string) slog.Handler      { return h }

// dial connects to a server tunnel as the client.
func (w *world) dial(addr string) (net.Conn, error) {
	return w.dialAs(w.client, "tcp", addr)
}

func (w *world) dialAs(who *memory, network, addr string) (net.Conn, error) {
	d := hsmtls.Dialer{Provider: &hsmtls.Provider{Keys: who, Trust: who}, Alias: alias, ServerName: host}
	conn, err := d.DialContext(w.t.Context(), network, addr)
	if err == nil {
		w.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

func (w *world) mustDial(addr string) net.Conn {
	w.t.Helper()
	conn, err := w.dial(addr)
	require.NoError(w.t, err)
	return conn
}

// plain connects to a client tunnel.
func (w *world) plain(network, addr string) net.Conn {
	w.t.Helper()
	conn, err := net.Dial(network, addr)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

// ways are the ways to a target: through a server, a client and a server, and the
// same over Unix sockets.
func (w *world) ways(t *testing.T, target func(w *world, network, addr string) net.Addr, f func(t *testing.T, conn net.Conn)) {
	t.Run("server", func(t *testing.T) {
		w := newWorld(t)
		s := w.start(w.serverConfig(target(w, "tcp", "127.0.0.1:0").String()))
		f(t, w.mustDial(s.address()))
	})
	t.Run("client and server", func(t *testing.T) {
		w := newWorld(t)
		s := w.start(w.serverConfig(target(w, "tcp", "127.0.0.1:0").String()))
		c := w.start(w.clientConfig(s.address()))
		f(t, w.plain("tcp", c.address()))
	})
	t.Run("unix", func(t *testing.T) {
		w := newWorld(t)
		dir := t.TempDir()
		target(w, "unix", filepath.Join(dir, "target"))
		server, client := w.serverConfig("unix:"+filepath.Join(dir, "target")), w.clientConfig("unix:"+filepath.Join(dir, "tls"))
		server.Listen, client.Listen = "unix:"+filepath.Join(dir, "tls"), "unix:"+filepath.Join(dir, "plain")
		w.start(server)
		w.start(client)
		f(t, w.plain("unix", filepath.Join(dir, "plain")))
	})
}

func ping(conn net.Conn) error {
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 4))
	return err
}
