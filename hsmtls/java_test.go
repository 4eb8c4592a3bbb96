// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto"
	"crypto/tls"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// jsse is JavaPeer, compiled.
type jsse struct {
	classes string
	keeps   bool // its client keeps the tickets of crypto/tls
}

// newJSSE compiles JavaPeer. Without a JDK the test is skipped; unlike the
// other peers, that it is there is not demanded in CI, only where
// $HSMTLS_REQUIRE_PEERS says so.
func newJSSE(t *testing.T) jsse {
	t.Helper()
	for _, name := range []string{"java", "javac"} {
		if _, err := exec.LookPath(name); err != nil && os.Getenv("HSMTLS_REQUIRE_PEERS") == "" {
			t.Skipf("NOT TESTED against Java: %s is not installed; any JDK from 17 on will do", name)
		}
	}
	j := jsse{classes: t.TempDir()}
	compile := exec.CommandContext(t.Context(), tool(t, "javac"), "-J-XX:TieredStopAtLevel=1", "-d", j.classes, "testdata/java/JavaPeer.java")
	out, err := compile.CombinedOutput()
	require.NoError(t, err, "%s", out)
	j.keeps = j.resumesGo(t)
	return j
}

// resumesGo reports whether a Java client resumes sessions of crypto/tls, ours
// not involved. JDK 17 does not under TLS 1.2: it discards tickets with a
// lifetime hint of 0, by which RFC 5077 section 3.3 means an unspecified
// lifetime and which is all that crypto/tls sends. The hint is part of what
// Finished protects, so it cannot be rewritten on its way.
func (j jsse) resumesGo(t *testing.T) bool {
	t.Helper()
	w := newWorld(t)
	cert, err := w.keys.Certificate(t.Context(), acquirer)
	require.NoError(t, err)
	c := j.client(t, w, stockServer(t, &tls.Config{
		Certificates: []tls.Certificate{*cert}, MaxVersion: tls.VersionTLS12,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: w.trust.roots,
	}))
	require.False(t, c.resumed(t))
	keeps := c.resumed(t)
	if !keeps {
		t.Log("this JDK resumes no session of crypto/tls: every handshake with our server is a full one")
	}
	return keeps
}

// start runs JavaPeer with the identity alias, and with tickets switched on
// should the JDK have another default.
func (j jsse) start(t *testing.T, w *world, alias string, args ...string) (stdin io.Writer, output *lockedBuffer) {
	t.Helper()
	f := w.export(t, alias)
	all := []string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m",
		"-Djdk.tls.client.enableSessionTicketExtension=true", "-Djdk.tls.server.enableSessionTicketExtension=true",
		"-cp", j.classes, "JavaPeer"}
	return process(t, nil, "java", append(append(all, args...), f.chain, f.key, f.root)...)
}

// server starts a Java server as the identity acquirer and returns its address.
// It echoes.
func (j jsse) server(t *testing.T, w *world) string {
	t.Helper()
	_, output := j.start(t, w, acquirer, "server")
	return said(t, output, acceptLine)[1]
}

// javaClient is a Java client that dials s each time it is told to.
type javaClient struct {
	stdin  io.Writer
	output *lockedBuffer
	s      *echoServer
	dials  int
}

func (j jsse) client(t *testing.T, w *world, s *echoServer) *javaClient {
	t.Helper()
	_, port := splitAddr(t, s.addr)
	c := &javaClient{s: s}
	c.stdin, c.output = j.start(t, w, terminal, "client", port)
	return c
}

// resumed lets the client dial and reports whether it resumed, as the server
// sees it. It returns when the client has seen its data come back.
func (c *javaClient) resumed(t *testing.T) bool {
	t.Helper()
	c.dials++
	_, err := io.WriteString(c.stdin, "dial\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		out := c.output.String()
		return strings.Count(out, "DONE\n") == c.dials || strings.Contains(out, "FAILED") || strings.Contains(out, "Exception")
	}, patience, 5*time.Millisecond)
	require.Equal(t, c.dials, strings.Count(c.output.String(), "DONE\n"), "%s", c.output)
	require.NoError(t, <-c.s.result)
	return (<-c.s.state).DidResume
}

// TestJava is TestMatrix and the session lifetime for peers on JSSE, in one
// test because the peer is compiled once.
func TestJava(t *testing.T) {
	t.Parallel()
	j := newJSSE(t)
	for kind, newKey := range map[string]func() crypto.Signer{
		"RSA-2048": func() crypto.Signer { return rsaKey(t, 2048) },
		"RSA-3072": func() crypto.Signer { return rsaKey(t, 3072) },
		"P-256":    func() crypto.Signer { return newECKey(t) },
	} {
		for peer, run := range map[string]func(*testing.T, jsse, *world){"client of Java": javaServer, "server of Java": javaDials} {
			t.Run(kind+", "+peer, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.identities(t, newKey)
				run(t, j, w)
			})
		}
	}
	t.Run("client's session lifetime", func(t *testing.T) { t.Parallel(); javaClientLifetime(t, j) })
	t.Run("server's session lifetime", func(t *testing.T) { t.Parallel(); javaServerLifetime(t, j) })
}

func javaServer(t *testing.T, j jsse, w *world) { w.foreignServer(t, j.server(t, w)) }

func javaDials(t *testing.T, j jsse, w *world) {
	c := j.client(t, w, w.listen(t))
	signatures := int64(0)
	for _, young := range []bool{false, true, true} {
		signatures += c.step(t, young && j.keeps)
		require.Equal(t, signatures, w.serverKey.signed.Load())
	}
}

// step dials, requires that the session is resumed or not, and returns how many
// signatures that takes.
func (c *javaClient) step(t *testing.T, resumes bool) int64 {
	t.Helper()
	require.Equal(t, resumes, c.resumed(t))
	if resumes {
		return 0
	}
	return 1
}

// javaClientLifetime holds a Java server, whose sessions are good for a day, to
// our client's lifetime.
func javaClientLifetime(t *testing.T, j jsse) {
	w := newWorld(t)
	addr := j.server(t, w)
	signatures := int64(0)
	for i, step := range lifetimeSteps {
		w.clock.advance(step.advance)
		conn, err := w.exchange(t, addr)
		require.NoError(t, err, "step %d", i)
		require.Equal(t, step.resumes, conn.ConnectionState().DidResume, "step %d", i)
		if !step.resumes {
			signatures++
		}
		require.Equal(t, signatures, w.clientKey.signed.Load(), "step %d", i)
	}
}

// javaServerLifetime holds a Java client, which would resume for a day if it
// resumes at all, to our server's lifetime.
func javaServerLifetime(t *testing.T, j jsse) {
	w := newWorld(t)
	c := j.client(t, w, w.listen(t))
	signatures := int64(0)
	for i, step := range lifetimeSteps {
		w.clock.advance(step.advance)
		signatures += c.step(t, step.resumes && j.keeps)
		require.Equal(t, signatures, w.serverKey.signed.Load(), "step %d", i)
	}
}
