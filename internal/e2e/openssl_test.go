// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// openssl returns the path of OpenSSL. Without it the test is skipped, or fails
// where everything has to be there.
func openssl(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" || os.Getenv("HSMTLS_REQUIRE_PEERS") != "" {
		t.Fatal("openssl is not installed")
	}
	t.Skip("openssl is not installed")
	return ""
}

// files writes an identity and the root, as OpenSSL wants them, and returns the
// arguments that name them.
func (s *station) files(t *testing.T, cert tls.Certificate) []string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, text, 0o600))
		return path
	}
	var chain bytes.Buffer
	for _, der := range cert.Certificate {
		require.NoError(t, pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	file := write("chain.pem", chain.Bytes())
	return []string{"-tls1_2", "-cert", file, "-cert_chain", file, "-verify_return_error",
		"-key", write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"-CAfile", write("root.pem", testpki.PEM(s.root.Certificate))}
}

// output is what a process has written. It is safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

var acceptLine = regexp.MustCompile(`ACCEPT (\S+:\d+)`)

// opensslServer starts s_server until the test ends and returns its address.
func (s *station) opensslServer(t *testing.T, more ...string) string {
	t.Helper()
	program := openssl(t)
	args := append([]string{"s_server", "-accept", loopback + ":0", "-rev", "-Verify", "3"}, s.files(t, s.hosts.Server(loopback))...)
	args = append(args, more...)
	ctx, cancel := context.WithCancel(context.Background())
	cmd, out := exec.CommandContext(ctx, program, args...), new(output)
	cmd.Stdout, cmd.Stderr = out, out
	in, err := cmd.StdinPipe() // s_server ends with its input
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cancel(); in.Close(); _ = cmd.Wait() })
	require.Eventually(t, func() bool { return acceptLine.MatchString(out.String()) }, time.Minute, 10*time.Millisecond)
	return acceptLine.FindStringSubmatch(out.String())[1]
}

// TestOpenSSL is TestHandshakes with the other implementation as the peer.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	for _, typ := range []keystore.KeyType{keystore.RSA2048, keystore.P256, keystore.P384} {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			s := newStation(t, setup{typ: typ})
			t.Run("s_server", s.againstServer)
			t.Run("s_client", s.againstClient)
		})
	}
}

func (s *station) againstServer(t *testing.T) {
	addr := s.opensslServer(t)
	for _, resumes := range []bool{false, true, true} {
		conn, err := s.dial(t.Context(), s.p, addr)
		require.NoError(t, err)
		require.Equal(t, resumes, conn.ConnectionState().DidResume)
		s.requireSignatures(t, signatures(1, resumes))
	}
}

func (s *station) againstClient(t *testing.T) {
	program, server := openssl(t), s.listen(t, s.p)
	args := append([]string{"s_client", "-connect", server.addr, "-verify_ip", loopback}, s.files(t, s.devices.Client("terminal 2"))...)
	session := filepath.Join(t.TempDir(), "session")
	for _, how := range []string{"-sess_out", "-sess_in"} {
		out, err := exec.CommandContext(t.Context(), program, append(args, how, session)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		accepted := <-server.results
		require.NoError(t, accepted.err)
		resumes := how == "-sess_in"
		require.Equal(t, resumes, accepted.conn.ConnectionState().DidResume)
		s.requireSignatures(t, signatures(1, resumes))
	}
}
