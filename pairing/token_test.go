// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package pairing_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

const deviceName = "12345678.terminal.test"

// device is a terminal with everything in the token: the key it serves with, the
// key of the pairing CA, and the list of paired POS.
type device struct {
	*pairing.Terminal
	addr   string
	vendor *testpki.CA
	stop   func()
}

// provision fills a token: a server identity of the vendor's and a pairing CA
// with a local root.
func provision(t *testing.T, tok *hsm.Token, vendor *testpki.CA) {
	t.Helper()
	ctx, keys, now := t.Context(), keystore.New(tok), time.Now()
	serverKey, err := keys.Generate(ctx, "terminal", keystore.RSA2048)
	require.NoError(t, err)
	leaf := vendor.Issue(testpki.ServerTemplate(deviceName), serverKey.Public())
	require.NoError(t, keys.Inject(ctx, "terminal_pub", "terminal", append([]*x509.Certificate{leaf}, vendor.Chain()...)))

	rootKey, err := keys.Generate(ctx, "pairing root", keystore.P256)
	require.NoError(t, err)
	caKey, err := keys.Generate(ctx, "pairing CA", keystore.RSA2048)
	require.NoError(t, err)
	root, err := pairing.NewLocalRoot(rootKey, pkix.Name{CommonName: "pairing root of " + deviceName}, now)
	require.NoError(t, err)
	ca, err := pairing.NewLocalAuthority(root, rootKey, caKey.Public(), pkix.Name{CommonName: "pairing CA of " + deviceName}, now)
	require.NoError(t, err)
	require.NoError(t, keys.InjectAuthority(ctx, "pairing_ca", "pairing CA", []*x509.Certificate{ca, root}))
}

// assemble is a terminal from what is on the token.
func assemble(t *testing.T, tok *hsm.Token, root *x509.Certificate, journal string) *pairing.Terminal {
	t.Helper()
	keys := keystore.New(tok)
	ca, err := keys.Identity(t.Context(), "pairing_ca")
	require.NoError(t, err)
	trust, err := truststore.Open(t.Context(), tok, truststore.Config{Anchors: truststore.Anchors{
		Vendor: []*x509.Certificate{root}, Pairing: ca.Chain[len(ca.Chain)-1:],
	}})
	require.NoError(t, err)
	return &pairing.Terminal{
		Issuer:   &pairing.Issuer{Key: ca.Key, Chain: ca.Chain},
		Registry: &truststore.Clients{Store: trust},
		Handler:  http.HandlerFunc(hello),
		Provider: &hsmtls.Provider{Keys: keys, Trust: trust},
		Alias:    "terminal_pub", Root: root, Journal: journal,
	}
}

// boot starts a terminal from what is on the token, as after a restart.
func boot(t *testing.T, tok *hsm.Token, vendor *testpki.CA, root *x509.Certificate, journal string) *device {
	t.Helper()
	d := &device{vendor: vendor, Terminal: assemble(t, tok, root, journal)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, ln) }()
	var stopped bool
	d.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
			require.NoError(t, d.Close())
		}
	}
	t.Cleanup(d.stop)
	return d
}

func hello(w http.ResponseWriter, r *http.Request) {
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
		_, _, _ = conn.Read(r.Context())
	}
}

func (d *device) client(t *testing.T, scheme string, root *x509.Certificate) *pairing.Client {
	t.Helper()
	pinned, err := pairing.RootOf(root)
	require.NoError(t, err)
	return &pairing.Client{URL: scheme + "://" + d.addr, Root: pinned, Name: deviceName}
}

// greeting asks over https.
func (d *device) greeting(t *testing.T, c *pairing.Client, b *pairing.Bundle) (string, error) {
	t.Helper()
	transport, err := c.Transport(b)
	require.NoError(t, err)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + d.addr + "/")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// TestTerminalOnToken is the whole of it: pairing over https and wss with keys of
// either side, mutual TLS, a restart, a renewal, a revocation.
func TestTerminalOnToken(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("vendor root")
	vendor := root.NewIntermediate("vendor CA")
	tok := hsmtest.Token(t)
	provision(t, tok, vendor)
	journal := filepath.Join(t.TempDir(), "journal")
	d := boot(t, tok, vendor, root.Certificate, journal)

	posKeys := keystore.New(hsmtest.Token(t)) // a POS with a token of its own
	inToken, err := posKeys.Generate(t.Context(), "pos", keystore.P256)
	require.NoError(t, err)
	software, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	requests := map[string]pairing.Request{"till 1": {}, "till.2": {Key: software}, "till 3": {}, "till 4": {Key: inToken}}
	bundles := map[string]*pairing.Bundle{}
	for id, r := range requests {
		scheme := "https"
		if id == "till 3" || id == "till 4" {
			scheme = "wss"
		}
		require.NoError(t, d.GenerateCode())
		r.POSID, r.Code = id, d.State().Code
		b, err := d.client(t, scheme, root.Certificate).Pair(t.Context(), r)
		require.NoError(t, err, id)
		bundles[id] = b
	}
	c := d.client(t, "https", root.Certificate)
	all := func() {
		t.Helper()
		require.Len(t, d.List(), 4)
		for id, b := range bundles {
			text, err := d.greeting(t, c, b)
			require.NoError(t, err, id)
			require.Equal(t, "hello "+id, text)
		}
	}
	all()

	d.stop()
	d = boot(t, tok, vendor, root.Certificate, journal)
	c = d.client(t, "https", root.Certificate)
	all()

	renewed, err := c.Renew(t.Context(), bundles["till 4"], nil)
	require.NoError(t, err)
	bundles["till 4"] = renewed
	require.Len(t, d.List(), 5, "the old one is there until the new one is used")
	_, err = d.greeting(t, c, renewed)
	require.NoError(t, err)
	all()

	conn := d.webSocket(t, c, bundles["till 1"])
	require.NoError(t, d.Revoke(t.Context(), "till 1"))
	_, _, err = conn.Read(t.Context())
	require.Error(t, err, "its connection is closed")
	_, err = d.greeting(t, c, bundles["till 1"])
	require.Error(t, err, "and it gets no other")
	require.Len(t, d.List(), 3)

	d.stop()
	d = boot(t, tok, vendor, root.Certificate, journal)
	c = d.client(t, "https", root.Certificate)
	require.Len(t, d.List(), 3)
	_, err = d.greeting(t, c, bundles["till 1"])
	require.Error(t, err, "not after a restart either")
}

func (d *device) webSocket(t *testing.T, c *pairing.Client, b *pairing.Bundle) *websocket.Conn {
	t.Helper()
	transport, err := c.Transport(b)
	require.NoError(t, err)
	var conn *websocket.Conn
	fips140.WithoutEnforcement(func() {
		conn, _, err = websocket.Dial(t.Context(), "wss://"+d.addr+"/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	})
	require.NoError(t, err)
	t.Cleanup(func() { conn.CloseNow() })
	_, text, err := conn.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "hello "+b.POSID(), string(text))
	return conn
}

// program returns the path of a program that is not part of Go. Where it is
// missing the test is skipped, unless everything has to be there.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && (os.Getenv("CI") != "" || os.Getenv("HSMTLS_REQUIRE_SOFTHSM") != "") {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	return path
}

// TestBundleInOtherPrograms has OpenSSL verify the bundle and connect with it.
func TestBundleInOtherPrograms(t *testing.T) {
	t.Parallel()
	openssl := program(t, "openssl")
	root := testpki.NewRoot("vendor root")
	vendor := root.NewIntermediate("vendor CA")
	tok := hsmtest.Token(t)
	provision(t, tok, vendor)
	d := boot(t, tok, vendor, root.Certificate, "")
	require.NoError(t, d.GenerateCode())
	b, err := d.client(t, "https", root.Certificate).Pair(t.Context(), pairing.Request{POSID: "till 7", Code: d.State().Code})
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "pos")
	require.NoError(t, b.Save(dir))
	file := func(name string) string { return filepath.Join(dir, name) }
	pki := filepath.Join(t.TempDir(), "pairing-root.pem")
	require.NoError(t, os.WriteFile(pki, pairing.RootPEM(b.Chain[2]), 0o600))

	out, err := exec.CommandContext(t.Context(), openssl, "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", pki, "-untrusted", file("chain.pem"), file("chain.pem")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.CommandContext(t.Context(), openssl, "verify", "-purpose", "sslserver", "-CAfile", pki, "-untrusted", file("chain.pem"), file("chain.pem")).CombinedOutput()
	require.Error(t, err, "a POS is no server: %s", out)

	cmd := exec.CommandContext(t.Context(), openssl, "s_client", "-connect", d.addr, "-servername", deviceName, "-verify_hostname", deviceName,
		"-verify_return_error", "-CAfile", file("root.pem"), "-cert", file("chain.pem"), "-cert_chain", file("chain.pem"), "-key", file("key.pem"), "-quiet")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	answer, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = io.WriteString(in, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	text, err := io.ReadAll(answer)
	require.NoError(t, err)
	_ = cmd.Wait()
	require.Contains(t, string(text), "hello till 7")
}
