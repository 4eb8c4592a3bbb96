// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

const (
	terminal = "terminal_pub" // the client's alias
	acquirer = "acquirer"     // the server's alias
	host     = "acquirer.example"
)

// patience is how long a test waits for what is sure to come, on however slow a
// machine.
const patience = time.Minute

var errUnknownAlias = errors.New("unknown alias")

// fakeKeys is Keys in memory. Every key counts its signatures.
type fakeKeys struct {
	mu    sync.Mutex
	certs map[string]*tls.Certificate
}

func (k *fakeKeys) Certificate(_ context.Context, alias string) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cert, ok := k.certs[alias]; ok {
		return cert, nil
	}
	return nil, errUnknownAlias
}

func (k *fakeKeys) set(alias string, cert tls.Certificate) *countingKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := &countingKey{Signer: cert.PrivateKey.(crypto.Signer)}
	cert.PrivateKey = key
	k.certs[alias] = &cert
	return key
}

func (k *fakeKeys) remove(alias string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.certs, alias)
}

// countingKey stands for a token's key.
type countingKey struct {
	crypto.Signer
	signed atomic.Int64
	before func() // runs before each signature, if set
}

func (k *countingKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.signed.Add(1)
	if k.before != nil {
		k.before()
	}
	return k.Signer.Sign(rand, digest, opts)
}

// fakeTrust is Trust over one root, which accepts all that chains to it.
type fakeTrust struct {
	roots *x509.CertPool
	gen   atomic.Uint64
	calls atomic.Int64
}

func (f *fakeTrust) Generation() uint64 { return f.gen.Load() }

func (f *fakeTrust) Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	f.calls.Add(1)
	inter := x509.NewCertPool()
	for _, c := range chain[1:] {
		inter.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: f.roots, Intermediates: inter, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: at,
	})
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

func trusting(roots ...*testpki.CA) *fakeTrust {
	f := &fakeTrust{roots: x509.NewCertPool()}
	for _, r := range roots {
		f.roots.AddCert(r.Certificate)
	}
	return f
}

// clock is an adjustable Now, which otherwise stands still.
type clock struct {
	start  time.Time
	offset atomic.Int64
}

func (c *clock) now() time.Time          { return c.start.Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// world is a client, a server and a root that both trust.
type world struct {
	root                 *testpki.CA
	clientKey, serverKey *countingKey
	keys                 *fakeKeys
	trust                *fakeTrust
	clock                *clock
	client, server       *Provider
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{root: testpki.NewRoot("Acquirer Root"), keys: &fakeKeys{certs: map[string]*tls.Certificate{}}, clock: &clock{start: time.Now()}}
	w.trust = trusting(w.root)
	w.clientKey = w.keys.set(terminal, w.root.NewIntermediate("Devices").Client("terminal 1"))
	w.serverKey = w.keys.set(acquirer, w.root.NewIntermediate("Hosts").Server(host, "127.0.0.1"))
	w.client = &Provider{Keys: w.keys, Trust: w.trust, Now: w.clock.now}
	w.server = &Provider{Keys: w.keys, Trust: w.trust, Now: w.clock.now}
	return w
}

// listen serves w's server, as an echo, until the test ends.
func (w *world) listen(t *testing.T) *echoServer {
	t.Helper()
	ln, err := w.server.Listen(t.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(t, err)
	return echo(t, ln)
}

// dial dials s as the terminal and closes the connection when the test ends.
func (w *world) dial(t *testing.T, s *echoServer) (*tls.Conn, error) {
	t.Helper()
	conn, err := w.client.Dial(t.Context(), "tcp", s.addr, terminal)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// echoServer echoes what it reads and keeps the result of each handshake.
type echoServer struct {
	addr   string
	result chan error               // of every handshake
	state  chan tls.ConnectionState // of every successful one
	conns  chan *tls.Conn
}

func echo(t *testing.T, ln net.Listener) *echoServer {
	t.Helper()
	s := &echoServer{
		addr: ln.Addr().String(), result: make(chan error, 1024),
		state: make(chan tls.ConnectionState, 1024), conns: make(chan *tls.Conn, 1024),
	}
	var running sync.WaitGroup
	t.Cleanup(func() { ln.Close(); running.Wait() })
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(conn.(*tls.Conn)) })
		}
	})
	return s
}

func (s *echoServer) serve(conn *tls.Conn) {
	defer conn.Close()
	err := conn.Handshake()
	s.result <- err
	if err != nil {
		return
	}
	s.state <- conn.ConnectionState()
	s.conns <- conn
	io.Copy(conn, conn)
}

// ping proves that conn carries data both ways.
func ping(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, pingErr(conn))
}

func pingErr(conn net.Conn) error {
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 4))
	return err
}

// requireRule asserts that err is a refusal by rule.
func requireRule(t *testing.T, err error, rule Rule) {
	t.Helper()
	var broken *PolicyError
	require.ErrorAs(t, err, &broken)
	require.Equal(t, rule, broken.Rule, "%v", err)
}
