// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

const (
	terminal = "terminal_pub" // the client's alias
	acquirer = "acquirer"     // the server's alias
	loopback = "127.0.0.1"
)

// A station is a token that holds both identities and the trust, and what an
// application makes of it.
type station struct {
	*faultp11.Module
	token   *hsm.Token
	keys    *keystore.Store
	trust   *truststore.Store
	p       *hsmtls.Provider
	root    *testpki.CA // the anchor
	devices *testpki.CA // a trusted entry, issues client certificates
	hosts   *testpki.CA // a trusted entry, issues server certificates
	csrs    map[string]*x509.CertificateRequest
}

// A setup is how to make a station. The zero setup is P-256 on a token that can
// do everything.
type setup struct {
	typ   keystore.KeyType
	lines []string          // of SoftHSM's configuration
	hide  []p11.Mechanism   // taken from the token
	token func(*hsm.Config) // changes how the token is opened
}

// newStation goes the whole way: keys made in the token, certificates requested
// and injected, trust injected, an empty record of calls.
func newStation(t *testing.T, how setup) *station {
	t.Helper()
	s := &station{Module: faultp11.New(t, how.lines...), root: testpki.NewRoot("Acquirer Root"), csrs: map[string]*x509.CertificateRequest{}}
	s.devices, s.hosts = s.root.NewIntermediate("Devices"), s.root.NewIntermediate("Hosts")
	s.hide(how.hide)
	cfg := s.Config(t)
	if how.token != nil {
		how.token(&cfg)
	}
	s.token = hsmtest.Open(t, cfg)
	s.keys = keystore.New(s.token)
	if how.typ == 0 {
		how.typ = keystore.P256
	}
	s.identity(t, terminal, how.typ, s.devices, x509.ExtKeyUsageClientAuth)
	s.identity(t, acquirer, how.typ, s.hosts, x509.ExtKeyUsageServerAuth)
	s.trust = s.openTrust(t)
	for alias, ca := range map[string]*testpki.CA{"devices": s.devices, "hosts": s.hosts} {
		_, err := s.trust.Inject(t.Context(), alias, ca.Certificate)
		require.NoError(t, err)
	}
	s.p = s.provider()
	s.warm(t)
	return s
}

func (s *station) hide(mechanisms []p11.Mechanism) {
	codes := make([]uint, len(mechanisms))
	for i, m := range mechanisms {
		codes[i] = uint(m)
	}
	s.Hide(codes...)
}

func (s *station) openTrust(t *testing.T) *truststore.Store {
	t.Helper()
	store, err := truststore.Open(t.Context(), s.token, truststore.Config{
		Anchors: truststore.Anchors{Acquirer: []*x509.Certificate{s.root.Certificate}},
	})
	require.NoError(t, err)
	return store
}

// identity makes a key, has its request answered by ca and injects the answer.
func (s *station) identity(t *testing.T, alias string, typ keystore.KeyType, ca *testpki.CA, usage x509.ExtKeyUsage) {
	t.Helper()
	keyAlias := alias + " key"
	_, err := s.keys.Generate(t.Context(), keyAlias, typ)
	require.NoError(t, err)
	der, err := s.keys.CSR(t.Context(), keyAlias, keystore.Request{
		Subject: pkix.Name{CommonName: "unit 1"}, DNSNames: []string{"unit-1.test"}, IPAddresses: []net.IP{net.ParseIP(loopback)},
	})
	require.NoError(t, err)
	csr, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	s.csrs[alias] = csr
	chain := append([]*x509.Certificate{ca.SignCSR(csr, usage)}, ca.Chain()...)
	require.NoError(t, s.keys.Inject(t.Context(), alias, keyAlias, chain))
}

func (s *station) provider() *hsmtls.Provider { return &hsmtls.Provider{Keys: s.keys, Trust: s.trust} }

// warm resolves both identities, as the first dial would, and forgets the calls.
func (s *station) warm(t *testing.T) {
	t.Helper()
	for _, alias := range []string{terminal, acquirer} {
		_, err := s.keys.Certificate(t.Context(), alias)
		require.NoError(t, err)
	}
	s.ResetCalls()
}

// requireSignatures asserts that the token was asked for n signatures since the
// last time, two calls each, and for nothing else.
func (s *station) requireSignatures(t *testing.T, n int) {
	t.Helper()
	want := map[string]int{}
	if n > 0 {
		want = map[string]int{"C_SignInit": n, "C_Sign": n}
	}
	require.Equal(t, want, s.CallTable())
	require.Equal(t, 2*n, s.Total())
	s.ResetCalls()
}

// dial dials as the terminal, sends a line and gets it back.
func (s *station) dial(ctx context.Context, p *hsmtls.Provider, addr string) (*tls.Conn, error) {
	conn, err := p.Dial(ctx, "tcp", addr, terminal)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn, ping(conn)
}

// ping sends a palindrome, which comes back alike from who echoes and from who
// reverses lines.
func ping(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "noon\n"); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, len("noon\n")))
	return err
}

// An echoServer keeps what became of each handshake.
type echoServer struct {
	addr    string
	results chan result
}

type result struct {
	conn *tls.Conn
	err  error
}

func (s *station) listen(t *testing.T, p *hsmtls.Provider) *echoServer {
	t.Helper()
	ln, err := p.Listen(t.Context(), "tcp", loopback+":0", acquirer)
	require.NoError(t, err)
	return serve(t, ln)
}

// serve echoes until the test ends.
func serve(t *testing.T, ln net.Listener) *echoServer {
	t.Helper()
	s := &echoServer{ln.Addr().String(), make(chan result, 1<<16)}
	var running sync.WaitGroup
	t.Cleanup(func() { ln.Close(); running.Wait() })
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.echo(conn.(*tls.Conn)) })
		}
	})
	return s
}

func (s *echoServer) echo(conn *tls.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	err := conn.Handshake()
	s.results <- result{conn, err}
	if err == nil {
		_, _ = io.Copy(conn, conn)
	}
}

// A peer is an identity without a token.
type peer struct {
	cert  tls.Certificate
	roots *x509.CertPool
}

func (s *station) peer(cert tls.Certificate) peer {
	roots := x509.NewCertPool()
	roots.AddCert(s.root.Certificate)
	return peer{cert, roots}
}

// server is crypto/tls as the acquirer, with a key of its own.
func (p peer) server(t *testing.T) *echoServer {
	t.Helper()
	ln, err := tls.Listen("tcp", loopback+":0", &tls.Config{
		Certificates: []tls.Certificate{p.cert}, MaxVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.roots,
	})
	require.NoError(t, err)
	return serve(t, ln)
}

// dialer is crypto/tls as the terminal, with a key of its own.
func (p peer) dialer() func(addr string) (*tls.Conn, error) {
	cfg := &tls.Config{
		Certificates: []tls.Certificate{p.cert}, MaxVersion: tls.VersionTLS12,
		RootCAs: p.roots, ClientSessionCache: tls.NewLRUClientSessionCache(0),
	}
	return func(addr string) (*tls.Conn, error) {
		conn, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn, ping(conn)
	}
}

// publicKey is the key that alias presents.
func (s *station) publicKey(t *testing.T, alias string) crypto.PublicKey {
	t.Helper()
	cert, err := s.keys.Certificate(t.Context(), alias)
	require.NoError(t, err)
	return cert.PrivateKey.(crypto.Signer).Public()
}
