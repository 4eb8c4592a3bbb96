// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package examples_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// bin is where the examples are built, once.
var bin string

func TestMain(m *testing.M) {
	var err error
	if bin, err = os.MkdirTemp("", "examples-"); err == nil {
		build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "./...")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
	} else {
		code = hsmtest.Main(m)
	}
	_ = os.RemoveAll(bin)
	os.Exit(code)
}

// A world is a token with an identity and a trusted server, and the CA of both.
type world struct {
	root   *testpki.CA
	server tls.Certificate
	env    []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{root: testpki.NewRoot("Acquirer Root")}
	w.server = w.root.Server("localhost", "127.0.0.1")
	cfg := hsmtest.Config(t)
	w.provision(t, hsmtest.Open(t, cfg))
	dir := t.TempDir()
	w.env = append(os.Environ(),
		"HSMTLS_URI=", "HSMTLS_SERIAL=", "HSMTLS_SLOT=",
		"HSMTLS_MODULE="+cfg.Module, "HSMTLS_TOKEN="+cfg.Token, "HSMTLS_ALIAS=terminal_pub",
		"HSMTLS_PIN_FILE="+write(t, dir, "pin", []byte(hsmtest.PIN)),
		"HSMTLS_ACQUIRER_ROOT="+write(t, dir, "root.pem", testpki.PEM(w.root.Certificate)))
	return w
}

// provision gives the token one key with two certificates, for the terminal as a
// client and as a server, and two peers to trust.
func (w *world) provision(t *testing.T, tok *hsm.Token) {
	t.Helper()
	ctx := t.Context()
	keys := keystore.New(tok)
	key, err := keys.Generate(ctx, "terminal", keystore.P256)
	require.NoError(t, err)
	client := testpki.ClientTemplate("terminal")
	client.Subject = pkix.Name{CommonName: "terminal"}
	for alias, template := range map[string]*x509.Certificate{
		"terminal_pub":    client,
		"terminal_server": testpki.ServerTemplate("terminal.example"),
	} {
		leaf := w.root.Issue(template, key.Public())
		require.NoError(t, keys.Inject(ctx, alias, "terminal", []*x509.Certificate{leaf}))
	}
	w.authority(t, keys)
	trust, err := truststore.Open(ctx, tok, truststore.Config{
		Anchors: truststore.Anchors{Acquirer: []*x509.Certificate{w.root.Certificate}},
	})
	require.NoError(t, err)
	_, err = trust.Inject(ctx, "host", w.server.Leaf)
	require.NoError(t, err)
	_, err = trust.Inject(ctx, "root", w.root.Certificate)
	require.NoError(t, err)
}

// authority gives the token a pairing CA, signed by the acquirer.
func (w *world) authority(t *testing.T, keys *keystore.Store) {
	t.Helper()
	key, err := keys.Generate(t.Context(), "pairing", keystore.P256)
	require.NoError(t, err)
	ca := w.root.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "Pairing CA"}, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		KeyUsage:    x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, key.Public())
	require.NoError(t, keys.InjectAuthority(t.Context(), "pairing_ca", "pairing", []*x509.Certificate{ca, w.root.Certificate}))
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// tlsConfig is that of a server which demands a certificate of the root.
func (w *world) tlsConfig() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(w.root.Certificate)
	return &tls.Config{
		Certificates: []tls.Certificate{w.server},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
	}
}

// command is an example, to be run in the world for five minutes at most.
func (w *world) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	cmd.Env = w.env
	return cmd
}

func (w *world) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := w.command(t, name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// web starts an HTTPS server and returns its URL with the name localhost.
func (w *world) web(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = w.tlsConfig()
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	return "https://localhost:" + port
}

func greet(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s", r.URL.Path, r.TLS.PeerCertificates[0].Subject)
}

func TestDial(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", w.tlsConfig())
	require.NoError(t, err)
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}()
	out := w.run(t, "dial", ln.Addr().String())
	require.Contains(t, out, "TLS 1.2, ")
	require.Contains(t, out, "as terminal_pub\nhello\n")
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, "200 OK\n/status CN=terminal", w.run(t, "https", w.web(t, greet)+"/status"))
}

func TestLegacyDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, "200 OK\n/status CN=terminal", w.run(t, "legacydefault", w.web(t, greet)+"/status"))
}

func TestTLSConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url := w.web(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		_, message, err := conn.Read(r.Context())
		if err == nil {
			_ = conn.Write(r.Context(), websocket.MessageText, append(message, " "+r.TLS.PeerCertificates[0].Subject.String()...))
			_, _, _ = conn.Read(r.Context()) // the close
		}
	})
	require.Equal(t, "hello CN=terminal\n", w.run(t, "tlsconfig", strings.Replace(url, "https", "wss", 1)))
}

func TestServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env = append(w.env, "HSMTLS_ALIAS=terminal_server")
	cmd := w.command(t, "server", "127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var addr string
	_, err = fmt.Fscanf(stdout, "listening on %s\n", &addr)
	require.NoError(t, err)
	peer := w.root.Client("till.example")
	require.Equal(t, "hello "+peer.Leaf.Subject.String()+"\n", w.get(t, addr, peer))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
}

// get asks the example's server as a client of the standard library.
func (w *world) get(t *testing.T, addr string, peer tls.Certificate) string {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{peer},
		RootCAs:      w.tlsConfig().ClientCAs,
		ServerName:   "terminal.example",
	}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("https://" + addr)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

// TestPairing runs the two examples of pairing against each other.
func TestPairing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.env = append(w.env, "HSMTLS_ALIAS=terminal_server", "HSMTLS_PAIRING_CA=pairing_ca",
		"HSMTLS_TERMINAL_ROOT="+write(t, t.TempDir(), "root.pem", testpki.PEM(w.root.Certificate)),
		"HSMTLS_TERMINAL_NAME=terminal.example", "HSMTLS_POS_DIR="+filepath.Join(t.TempDir(), "till"))
	cmd := w.command(t, "terminal", "127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	out := bufio.NewReader(stdout)
	var addr, code string
	_, err = fmt.Fscanf(out, "listening on %s\n", &addr)
	require.NoError(t, err)
	_, err = io.WriteString(stdin, "tap\n")
	require.NoError(t, err)
	_, err = fmt.Fscanf(out, "code %s\n", &code)
	require.NoError(t, err)
	require.Regexp(t, `^paired until \d{4}-\d\d-\d\d\nhello till\n$`, w.run(t, "pos", "https://"+addr, "till", code))
	require.Equal(t, "hello till\n", w.run(t, "pos", "https://"+addr, "till"))
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
}

// TestExamplesAreTested holds that nothing is added here and never run.
func TestExamplesAreTested(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("*/main.go")
	require.NoError(t, err)
	tested := []string{"dial", "gateway", "https", "legacydefault", "pos", "server", "terminal", "tlsconfig"}
	for _, path := range found {
		require.Contains(t, tested, filepath.Dir(path))
	}
	require.Len(t, found, len(tested))
}
