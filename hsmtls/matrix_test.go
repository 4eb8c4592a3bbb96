// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// identities gives both identities of w keys of one kind.
func (w *world) identities(t testing.TB, newKey func() crypto.Signer) {
	t.Helper()
	templates := map[string]*x509.Certificate{
		terminal: testpki.ClientTemplate("terminal 1"),
		acquirer: testpki.ServerTemplate(host, "127.0.0.1"),
	}
	for alias, template := range templates {
		key, ca := newKey(), w.root.NewIntermediate("Issuing CA")
		leaf := ca.Issue(template, key.Public())
		counting := w.keys.set(alias, tls.Certificate{
			Certificate: [][]byte{leaf.Raw, ca.Certificate.Raw}, PrivateKey: key,
		})
		if alias == terminal {
			w.clientKey = counting
		} else {
			w.serverKey = counting
		}
	}
}

// TestMatrix runs every kind of key against every kind of peer, in both roles,
// with a full and a resumed handshake.
func TestMatrix(t *testing.T) {
	t.Parallel()
	kinds := map[string]func() crypto.Signer{
		"RSA-2048": func() crypto.Signer { return rsaKey(t, 2048) },
		"RSA-3072": func() crypto.Signer { return rsaKey(t, 3072) },
		"P-256":    func() crypto.Signer { return newECKey(t) },
	}
	peers := map[string]func(t *testing.T, w *world){
		"client of Go":      goServer,
		"client of OpenSSL": func(t *testing.T, w *world) { w.foreignServer(t, w.opensslServer(t, nil, "-tls1_2")) },
		"client of GnuTLS":  func(t *testing.T, w *world) { w.foreignServer(t, w.gnutlsServer(t, "NORMAL:-VERS-ALL:+VERS-TLS1.2")) },
		"server of Go":      goClient,
		"server of OpenSSL": opensslClient,
		"server of GnuTLS":  gnutlsClient,
	}
	for kind, newKey := range kinds {
		for peer, run := range peers {
			t.Run(kind+", "+peer, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.identities(t, newKey)
				run(t, w)
			})
		}
	}
}

func (w *world) foreignServer(t *testing.T, addr string) {
	t.Helper()
	for _, resumes := range []bool{false, true, true} {
		conn, err := w.exchange(t, addr)
		require.NoError(t, err)
		require.Equal(t, resumes, conn.ConnectionState().DidResume)
	}
	require.EqualValues(t, 1, w.clientKey.signed.Load())
}

func goServer(t *testing.T, w *world) {
	cert, err := w.keys.Certificate(t.Context(), acquirer)
	require.NoError(t, err)
	s := stockServer(t, &tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: w.trust.roots})
	for _, resumes := range []bool{false, true} {
		require.Equal(t, resumes, w.resumed(t, s))
	}
}

func goClient(t *testing.T, w *world) {
	s, c := w.listen(t), w.stockClient(t, tls.VersionTLS12)
	for _, resumes := range []bool{false, true} {
		require.Equal(t, resumes, c.resumed(t, s))
	}
	require.EqualValues(t, 1, w.serverKey.signed.Load())
}

// opensslArgs is how openssl s_client dials s as the terminal.
func (w *world) opensslArgs(t *testing.T, s *echoServer, args ...string) []string {
	t.Helper()
	f := w.export(t, terminal)
	return append([]string{"s_client", "-connect", s.addr, "-cert", f.chain, "-cert_chain", f.chain, "-key", f.key,
		"-CAfile", f.root, "-verify_return_error", "-verify_hostname", host}, args...)
}

func opensslClient(t *testing.T, w *world) {
	s := w.listen(t)
	session := t.TempDir() + "/session"
	args := w.opensslArgs(t, s, "-tls1_2")
	for _, how := range []string{"-sess_out", "-sess_in"} {
		out, err := exec.CommandContext(t.Context(), tool(t, "openssl"), append(args, how, session)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, <-s.result)
		require.Equal(t, how == "-sess_in", (<-s.state).DidResume)
	}
	require.EqualValues(t, 1, w.serverKey.signed.Load())
}

func gnutlsClient(t *testing.T, w *world) {
	s := w.listen(t)
	f := w.export(t, terminal)
	_, port := splitAddr(t, s.addr)
	cmd := exec.CommandContext(t.Context(), tool(t, "gnutls-cli"), "--resume", "--port", port, "--x509certfile", f.chain,
		"--x509keyfile", f.key, "--x509cafile", f.root, "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2", "127.0.0.1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out := new(lockedBuffer)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	resumed := 0
	for range 2 { // in any order: the second connection may overtake
		require.NoError(t, <-s.result, "%s", out)
		if (<-s.state).DidResume {
			resumed++
		}
	}
	require.Equal(t, 1, resumed)
	io.WriteString(in, "bye\n")
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait(), "%s", out)
	require.EqualValues(t, 1, w.serverKey.signed.Load())
}
