// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/pairing"
)

// run runs a program in a folder and returns its output. It knows no settings of
// whoever runs the test.
func run(t *testing.T, dir, stdin, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, name), args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "HOME="+dir, "OPENSSL_CONF="+os.DevNull, "NO_PROXY=*", "no_proxy=*")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestDocumentedCommands runs the commands that docs/pairing.md has for curl and
// OpenSSL as they stand there, one after the other, with another address, port and
// code.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "pairing.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## With curl and OpenSSL\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := shellBlock.FindAllStringSubmatch(section, -1)
	require.Len(t, blocks, 5)
	program(t, "curl")
	openssl(t)
	c, dir := newCounterTerminal(t), t.TempDir()
	c.writeRoot(t, dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "password"), []byte("changeit\n"), 0o600))
	asked := 0
	for _, block := range blocks {
		commands := block[1]
		if strings.Contains(commands, "8QW1YS1D") {
			commands = strings.ReplaceAll(commands, "8QW1YS1D", c.tap(t).Reveal())
		}
		commands = strings.NewReplacer("192.168.178.67", loopback, "8443", c.port(t)).Replace(commands)
		out, err := run(t, dir, "", "sh", "-ec", commands)
		require.NoError(t, err, "%s\n%s", commands, out)
		if strings.Contains(commands, "--cert ") {
			asked++
			require.Contains(t, out, "hello 123")
		}
	}
	require.Equal(t, 2, asked)
	seed := requireReply(t, filepath.Join(dir, "pos.pem"))
	require.IsType(t, new(rsa.PrivateKey), seed.Key)
	require.Nil(t, requireReply(t, filepath.Join(dir, "chain.pem")).Key)
	_, err = tls.LoadX509KeyPair(filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem"))
	require.NoError(t, err)
	require.Len(t, c.List(), 1, "the second certificate has taken the place of the first")
}

// requireReply reads what a terminal has answered, which nobody else may read.
func requireReply(t *testing.T, file string) *pairing.Bundle {
	t.Helper()
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	b, err := pairing.ParseBundle(text)
	require.NoError(t, err)
	require.Equal(t, "123", b.POSID())
	return b
}

// TestBundleInOpenSSL has s_client connect with a bundle of either kind.
func TestBundleInOpenSSL(t *testing.T) {
	t.Parallel()
	c := newCounterTerminal(t)
	for id, request := range bundleKinds(t) {
		dir := c.saved(t, id, request)
		answer := c.sClient(t, dir, "-cert", "chain.pem", "-cert_chain", "chain.pem", "-key", "key.pem")
		require.Contains(t, answer, "HTTP/1.1 200 OK")
		require.Contains(t, answer, "hello "+id)
		require.Contains(t, c.sClient(t, dir), "HTTP/1.1 403 Forbidden", "the twin: nobody")
		require.NoError(t, c.Revoke(t.Context(), id))
		require.NotContains(t, c.sClient(t, dir, "-cert", "chain.pem", "-key", "key.pem"), "HTTP/1.1", "the twin: revoked")
	}
}

// sClient makes a request and returns what there is to see. It ends when the
// terminal closes the connection.
func (c *counterTerminal) sClient(t *testing.T, dir string, more ...string) string {
	t.Helper()
	args := append([]string{
		"s_client", "-connect", c.addr, "-servername", deviceName, "-verify_hostname", deviceName,
		"-verify_return_error", "-CAfile", "root.pem", "-quiet",
	}, more...)
	cmd, out := exec.CommandContext(t.Context(), openssl(t), args...), new(output)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	in, err := cmd.StdinPipe() // s_client ends with its input, too early
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, _ = io.WriteString(in, "GET / HTTP/1.1\r\nHost: "+deviceName+"\r\nConnection: close\r\n\r\n") // it may be gone
	_ = cmd.Wait()                                                                                   // which it reports as an error of its own kind
	return out.String()
}

// bundleKinds are requests for a key of the terminal's, and for one of the POS.
func bundleKinds(t *testing.T) map[string]pairing.Request {
	t.Helper()
	return map[string]pairing.Request{"till 1": {}, "till 2": {Key: newPOSKey(t)}}
}

// saved pairs a POS and leaves its three files in a folder.
func (c *counterTerminal) saved(t *testing.T, id string, request pairing.Request) (dir string) {
	t.Helper()
	request.POSID, request.Code = id, c.tap(t)
	b, err := c.pos(t, "https").Pair(t.Context(), request)
	require.NoError(t, err)
	dir = filepath.Join(t.TempDir(), "pos")
	require.NoError(t, b.Save(dir))
	return dir
}

// TestBundleInJava has a POS in Java pair over wss, and use what it got; and use
// the PKCS #12 file that OpenSSL makes of a bundle of either kind.
func TestBundleInJava(t *testing.T) {
	t.Parallel()
	program(t, "java")
	c := newCounterTerminal(t)
	dir := t.TempDir()
	c.writeRoot(t, dir)
	out, err := c.java(t, dir, "pair", "pos.p12", "till 0", c.tap(t).Reveal())
	require.NoError(t, err, "%s", out)
	c.requireJava(t, dir, "pos.p12", "till 0")

	for id, request := range bundleKinds(t) {
		dir := c.saved(t, id, request)
		out, err := run(t, dir, "changeit\n", "openssl", "pkcs12", "-export", "-inkey", "key.pem", "-in", "chain.pem", "-out", "pos.p12", "-passout", "stdin")
		require.NoError(t, err, "%s", out)
		c.requireJava(t, dir, "pos.p12", id)
		require.NoError(t, c.Revoke(t.Context(), id))
		out, err = c.java(t, dir, "ask", "pos.p12")
		require.Error(t, err, "the twin: revoked: %s", out)
	}
}

// requireJava asks over https and wss.
func (c *counterTerminal) requireJava(t *testing.T, dir, store, id string) {
	t.Helper()
	out, err := c.java(t, dir, "ask", store)
	require.NoError(t, err, "%s", out)
	require.Contains(t, out, "https: 200 hello "+id)
	require.Contains(t, out, "wss: hello "+id)
}

func (c *counterTerminal) java(t *testing.T, dir, verb, store string, more ...string) (string, error) {
	t.Helper()
	source, err := filepath.Abs(filepath.Join("testdata", "POS.java"))
	require.NoError(t, err)
	hosts := filepath.Join(dir, "hosts")
	require.NoError(t, os.WriteFile(hosts, []byte(loopback+" "+deviceName+"\n"), 0o600))
	args := []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m", "-Djdk.net.hosts.file=" + hosts,
		source, verb, deviceName + ":" + c.port(t), "root.pem", store}
	return run(t, dir, "changeit\n", "java", append(args, more...)...)
}
