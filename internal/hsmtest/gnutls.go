// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// GnuTLSServer starts gnutls-serv, which echoes lines, with these arguments and a port,
// and returns its address. It ends with the test, and a test that failed shows what it
// said.
func GnuTLSServer(t testing.TB, args ...string) string {
	t.Helper()
	for range 10 {
		if addr, ok := startGnuTLS(t, args); ok {
			return addr
		}
	}
	t.Fatal("gnutls-serv gets no port")
	return ""
}

// gnutlsListens is what gnutls-serv says of its port. Should somebody else have it,
// gnutls-serv goes on without.
var gnutlsListens = regexp.MustCompile(`IPv4 \S+ port \d+\.\.\.(done|bind)`)

// startGnuTLS starts it on a port that was free, because it does not tell which one it
// was given, and reports whether it has got that.
func startGnuTLS(t testing.TB, args []string) (addr string, ok bool) {
	t.Helper()
	port := freePort(t)
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd := exec.Command("gnutls-serv", append([]string{"--echo", "--port", port}, args...)...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, _ := os.ReadFile(said.Name()); t.Failed() {
			t.Logf("gnutls-serv %q:\n%s", args, text)
		}
	})
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(said.Name())
		if listens := gnutlsListens.FindSubmatch(text); listens != nil {
			return net.JoinHostPort("127.0.0.1", port), string(listens[1]) == "done"
		}
	}
	t.Fatal("gnutls-serv does not start")
	return "", false
}

// freePort returns a port that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}
