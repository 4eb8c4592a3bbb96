// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package hsmtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
)

// p11kitClients is where Debian, Fedora, Homebrew and plain builds install the
// client side of p11-kit.
var p11kitClients = []string{
	"/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
	"/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so",
	"/usr/lib64/pkcs11/p11-kit-client.so",
	"/usr/lib/pkcs11/p11-kit-client.so",
	"/usr/local/lib/pkcs11/p11-kit-client.so",
	"/opt/homebrew/lib/pkcs11/p11-kit-client.so",
}

// A NetworkToken is a token behind `p11-kit server`: what a network HSM is to
// its client. Its methods belong into the test's goroutine, except Kill9.
type NetworkToken struct {
	t      testing.TB
	dir    string
	cfg    hsm.Config
	served hsm.Config
	server *exec.Cmd // nil unless it runs
}

// P11Kit makes a token on SoftHSM, has a server of its own give access to it,
// and stops that when the test ends. Without p11-kit it skips the test, or
// fails it where [Module] would.
//
// The client library reads the address of the server from the environment
// whenever it is loaded, which an outage makes it be again. So a process has
// one server at a time, and a test that calls this cannot be parallel: see
// [testing.T.Setenv].
func P11Kit(t testing.TB) *NetworkToken {
	t.Helper()
	client := p11kitClient(t)
	served := Config(t)
	dir, err := os.MkdirTemp("", "p11kit-") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	n := &NetworkToken{t: t, dir: dir, served: served, cfg: served}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n.cfg.Module = filepath.Join(dir, "p11-kit-client.so")
	if err := copyFile(n.cfg.Module, client); err != nil {
		t.Fatal(err)
	}
	t.Setenv("P11_KIT_SERVER_ADDRESS", "unix:path="+n.socket())
	t.Cleanup(n.Kill9)
	n.Start()
	return n
}

// p11kitClient returns the path of the client library: $HSMTLS_TEST_P11KIT, or
// one of the usual places.
func p11kitClient(t testing.TB) string {
	t.Helper()
	Module(t)
	places := p11kitClients
	if path := os.Getenv("HSMTLS_TEST_P11KIT"); path != "" {
		places = []string{path}
	}
	_, err := exec.LookPath("p11-kit")
	for _, path := range places {
		if _, missing := os.Stat(path); missing == nil && err == nil {
			return path
		}
	}
	missing(t, "p11-kit or its client library is not installed: run scripts/deps, or set HSMTLS_TEST_P11KIT")
	return ""
}

// missing skips the test, or fails it where everything has to be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("HSMTLS_REQUIRE_SOFTHSM") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// Config is how to open the token through the client.
func (n *NetworkToken) Config() hsm.Config { return n.cfg }

func (n *NetworkToken) socket() string { return filepath.Join(n.dir, "sock") }

// Start starts the server and waits until it listens. The server is the leader
// of a process group that its children, one for each connection, belong to.
func (n *NetworkToken) Start() {
	n.t.Helper()
	if n.server != nil {
		n.t.Fatal("the server runs already")
	}
	_ = os.Remove(n.socket()) // which a killed server leaves
	var said strings.Builder
	n.server = exec.Command("p11-kit", "server", "-f", "-n", n.socket(), "--provider", n.served.Module, "pkcs11:token="+n.served.Token)
	n.server.Stdout, n.server.Stderr = io.Discard, &said
	n.server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	n.server.WaitDelay = time.Second
	if err := n.server.Start(); err != nil {
		n.server = nil
		n.t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		// The socket is there a moment before the server listens on it.
		if conn, err := net.Dial("unix", n.socket()); err == nil {
			_ = conn.Close()
			return
		}
	}
	n.Kill9()
	n.t.Fatalf("p11-kit server does not listen: %s", said.String())
}

// Kill9 kills the server and every connection of it at once. The next call of a
// client fails. Without a running server it does nothing.
func (n *NetworkToken) Kill9() { n.end(syscall.SIGKILL) }

// Stop asks the server to end, and its connections with it.
func (n *NetworkToken) Stop() { n.end(syscall.SIGTERM) }

func (n *NetworkToken) end(how syscall.Signal) {
	if n.server == nil {
		return
	}
	n.signal(how)
	_ = n.server.Wait() // says that it was killed
	n.signal(syscall.SIGKILL)
	n.server = nil
}

func (n *NetworkToken) signal(s syscall.Signal) {
	if err := syscall.Kill(-n.server.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		n.t.Errorf("signal to the server: %v", err)
	}
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, content, 0o700); err != nil {
		return fmt.Errorf("copy of %s: %w", from, err)
	}
	return nil
}
