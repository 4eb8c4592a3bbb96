// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

// tool returns the path of a foreign TLS implementation. Without it the test is
// skipped, or fails if $CI or $HSMTLS_REQUIRE_PEERS is set.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" || os.Getenv("HSMTLS_REQUIRE_PEERS") != "" {
		t.Fatalf("%s is not installed: run scripts/deps", name)
	}
	t.Skipf("%s is not installed: run scripts/deps", name)
	return ""
}

// files is an identity and the root, as foreign tools want them.
type files struct{ dir, chain, key, root string }

// export writes the identity alias and the root to files.
func (w *world) export(t *testing.T, alias string) files {
	t.Helper()
	dir := t.TempDir()
	f := files{dir, filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "root.pem")}
	cert, err := w.keys.Certificate(t.Context(), alias)
	require.NoError(t, err)
	var chain bytes.Buffer
	for _, der := range cert.Certificate {
		require.NoError(t, pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey.(*countingKey).Signer)
	require.NoError(t, err)
	write := func(name string, b []byte) { require.NoError(t, os.WriteFile(name, b, 0o600)) }
	write(f.chain, chain.Bytes())
	write(f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	write(f.root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.root.Certificate.Raw}))
	return f
}

// process starts a foreign peer with its standard input open, and ends it with
// the test.
func process(t *testing.T, env []string, name string, args ...string) (stdin io.Writer, output *lockedBuffer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(t, name), args...)
	cmd.Env = append(os.Environ(), env...)
	output = new(lockedBuffer)
	cmd.Stdout, cmd.Stderr = output, output
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s %q:\n%s", name, args, output)
		}
	})
	return in, output
}

// said waits until a foreign peer has said what matches pattern, and returns the
// match with its groups.
func said(t *testing.T, output *lockedBuffer, pattern *regexp.Regexp) (match []string) {
	t.Helper()
	require.Eventually(t, func() bool {
		match = pattern.FindStringSubmatch(output.String())
		return match != nil
	}, patience, 10*time.Millisecond, "%v", pattern)
	return match
}

var acceptLine = regexp.MustCompile(`ACCEPT (\S+:\d+)`)

// opensslServer starts openssl s_server as the identity acquirer and returns
// its address. It reverses lines.
func (w *world) opensslServer(t *testing.T, env []string, args ...string) string {
	t.Helper()
	f := w.export(t, acquirer)
	args = append([]string{"s_server", "-accept", "127.0.0.1:0", "-rev", "-cert", f.chain, "-cert_chain", f.chain,
		"-key", f.key, "-CAfile", f.root, "-Verify", "3", "-verify_return_error"}, args...)
	_, output := process(t, env, "openssl", args...)
	return said(t, output, acceptLine)[1]
}

// gnutlsServer starts gnutls-serv as the identity acquirer and returns its
// address. It echoes lines.
func (w *world) gnutlsServer(t *testing.T, priority string) string {
	t.Helper()
	tool(t, "gnutls-serv")
	f := w.export(t, acquirer)
	return hsmtest.GnuTLSServer(t, "--x509certfile", f.chain, "--x509keyfile", f.key,
		"--x509cafile", f.root, "--require-client-cert", "--priority", priority)
}

// exchange sends a line to a foreign server and returns the line it answers,
// or the error of dialling it.
func (w *world) exchange(t *testing.T, addr string) (*tls.Conn, error) {
	t.Helper()
	conn, err := w.client.Dial(t.Context(), "tcp", addr, terminal)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "noon\n") // a palindrome: echoed or reversed alike
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "noon\n", line)
	return conn, nil
}

// noEMS returns the environment in which OpenSSL does not know extended master
// secret.
func noEMS(t *testing.T) []string {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "openssl.cnf")
	require.NoError(t, os.WriteFile(conf, []byte(noEMSConf), 0o600))
	return []string{"OPENSSL_CONF=" + conf}
}

const noEMSConf = `openssl_conf = conf
[conf]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
Options = -ExtendedMasterSecret
`
