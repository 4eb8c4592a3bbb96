// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// deviceName is what docs/pairing.md calls the terminal.
const deviceName = "12345678.terminal.example"

// A counterTerminal is a payment terminal with all its keys and its list of POS on
// a token, whose calls are counted. It greets those who are paired.
type counterTerminal struct {
	*faultp11.Module
	*pairing.Terminal
	addr  string
	root  *x509.Certificate // of the terminal's own certificate
	ahead atomic.Int64      // of the terminal's clock, in nanoseconds
	taps  atomic.Int64      // by tapIfBlocked
}

func newCounterTerminal(t *testing.T) *counterTerminal {
	t.Helper()
	vendor := testpki.NewRoot("Vendor Root")
	c := &counterTerminal{Module: faultp11.New(t), root: vendor.Certificate}
	tok := hsmtest.Open(t, c.Config(t))
	keys := keystore.New(tok)
	certify(t, keys, vendor.NewIntermediate("Vendor CA"))
	ca := newAuthority(t, keys)
	trust := trustBoth(t, tok, c.root, ca.Chain[1])
	c.Terminal = &pairing.Terminal{
		Issuer:   ca,
		Registry: &truststore.Clients{Store: trust},
		Handler:  http.HandlerFunc(greet),
		Provider: &hsmtls.Provider{Keys: keys, Trust: trust},
		Alias:    terminal, Root: c.root,
		Now: func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) },
	}
	c.serve(t)
	return c
}

// certify makes the key the terminal serves with.
func certify(t *testing.T, keys *keystore.Store, ca *testpki.CA) {
	t.Helper()
	key, err := keys.Generate(t.Context(), "terminal", keystore.RSA2048)
	require.NoError(t, err)
	leaf := ca.Issue(testpki.ServerTemplate(deviceName), key.Public())
	require.NoError(t, keys.Inject(t.Context(), terminal, "terminal", append([]*x509.Certificate{leaf}, ca.Chain()...)))
}

// newAuthority makes the pairing CA and its root.
func newAuthority(t *testing.T, keys *keystore.Store) *pairing.Issuer {
	t.Helper()
	rootKey, err := keys.Generate(t.Context(), "pairing root", keystore.P256)
	require.NoError(t, err)
	key, err := keys.Generate(t.Context(), "pairing CA", keystore.RSA2048)
	require.NoError(t, err)
	root, err := pairing.NewLocalRoot(rootKey, pkix.Name{CommonName: "Pairing Root"}, time.Now())
	require.NoError(t, err)
	ca, err := pairing.NewLocalAuthority(root, rootKey, key.Public(), pkix.Name{CommonName: "Pairing CA"}, time.Now())
	require.NoError(t, err)
	return &pairing.Issuer{Key: key, Chain: []*x509.Certificate{ca, root}}
}

func trustBoth(t *testing.T, tok *hsm.Token, vendor, pos *x509.Certificate) *truststore.Store {
	t.Helper()
	trust, err := truststore.Open(t.Context(), tok, truststore.Config{Anchors: truststore.Anchors{
		Vendor: []*x509.Certificate{vendor}, Pairing: []*x509.Certificate{pos},
	}})
	require.NoError(t, err)
	return trust
}

// serve serves until the test ends.
func (c *counterTerminal) serve(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", loopback+":0")
	require.NoError(t, err)
	c.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, c.Terminal.Close())
	})
	require.Eventually(t, func() bool { return len(c.Details().Addresses) == 1 }, 30*time.Second, time.Millisecond)
}

// greet answers over https, and over wss with one message.
func greet(w http.ResponseWriter, r *http.Request) {
	p, _ := pairing.POSFrom(r.Context())
	if r.Header.Get("Upgrade") == "" {
		_, _ = io.WriteString(w, "hello "+p.ID)
		return
	}
	var conn *websocket.Conn
	var err error
	fips140.WithoutEnforcement(func() { conn, err = websocket.Accept(w, r, nil) }) // SHA-1, RFC 6455 section 1.3
	if err != nil {
		return
	}
	defer conn.CloseNow()
	if conn.Write(r.Context(), websocket.MessageText, []byte("hello "+p.ID)) == nil {
		_ = conn.Close(websocket.StatusNormalClosure, "")
	}
}

// tap shows a code.
func (c *counterTerminal) tap(t *testing.T) pairing.Code {
	t.Helper()
	require.NoError(t, c.GenerateCode())
	s := c.State()
	require.Equal(t, pairing.PhaseShowing, s.Phase)
	return s.Code
}

// pos is a POS in Go.
func (c *counterTerminal) pos(t *testing.T, scheme string) *pairing.Client {
	t.Helper()
	root, err := pairing.RootOf(c.root)
	require.NoError(t, err)
	return &pairing.Client{URL: scheme + "://" + c.addr, Root: root, Name: deviceName}
}

// strangerConfig is TLS for a POS that is not paired.
func (c *counterTerminal) strangerConfig() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(c.root)
	return &tls.Config{
		RootCAs: roots, ServerName: deviceName, MaxVersion: tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(1), // to no avail
	}
}

// newPOSKey is a key of a POS's own.
func newPOSKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// writeRoot puts root.pem into a folder.
func (c *counterTerminal) writeRoot(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "root.pem"), pairing.RootPEM(c.root), 0o600))
}

func (c *counterTerminal) port(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(c.addr)
	require.NoError(t, err)
	return port
}

// program returns the path of a program that is not part of Go. Without it the
// test is skipped, or fails where everything has to be there.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "CI=") || strings.HasPrefix(variable, "HSMTLS_REQUIRE_") {
			t.Fatalf("%s is not installed, and $%s", name, variable)
		}
	}
	t.Skipf("NOT TESTED: %s is not installed", name)
	return ""
}
