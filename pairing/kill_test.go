// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && unix

package pairing_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// The environment of a terminal that is going to be killed.
const (
	killAt    = "HSMTLS_TEST_KILL_AT"
	killToken = "HSMTLS_TEST_KILL_TOKEN"
	killDir   = "HSMTLS_TEST_KILL_DIR"
)

// TestKilled kills a terminal in a process of its own, with SIGKILL, at several
// points of a pairing, and starts it again. Whoever was paired before stays so.
// A certificate is listed only if the POS has it, or if the journal knows that
// it may not: TestRestart shows what becomes of that.
func TestKilled(t *testing.T) {
	t.Parallel()
	if at := os.Getenv(killAt); at != "" {
		beKilled(t, at)
		return
	}
	for at, want := range map[string]struct{ got, listed bool }{
		"before the signature":   {false, false},
		"after the signature":    {false, false},
		"before it is listed":    {false, false},
		"after it is listed":     {false, true},
		"before it is sent":      {false, true},
		"in the middle of it":    {false, true},
		"before that is noted":   {true, true},
		"after that is noted":    {true, true},
		"while a code is shown":  {false, false},
		"while a request begins": {false, false},
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			v := newVictim(t)
			b := v.pairAndDie(t, at)
			require.Equal(t, want.got, b != nil)
			v.check(t, b, want.listed)
		})
	}
}

// A victim is what is left of a terminal when its process is gone.
type victim struct {
	cfg          hsm.Config
	tok          *hsm.Token
	root         *x509.Certificate
	vendor       *testpki.CA
	dir, journal string
	other        *pairing.Bundle // of a POS that was paired before
	key          crypto.Signer   // of the POS that is being paired
	addr         string
	code         pairing.Code
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	root := testpki.NewRoot("vendor root")
	v := &victim{cfg: hsmtest.Config(t), root: root.Certificate, vendor: root.NewIntermediate("vendor CA"), dir: t.TempDir()}
	v.tok, v.journal = hsmtest.Open(t, v.cfg), filepath.Join(v.dir, "state", "journal")
	provision(t, v.tok, v.vendor)
	require.NoError(t, os.WriteFile(filepath.Join(v.dir, "root.pem"), pairing.RootPEM(v.root), 0o600))
	var err error
	v.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	d := boot(t, v.tok, v.vendor, v.root, v.journal)
	v.other = v.pair(t, d, "other")
	d.stop()
	return v
}

func (v *victim) pair(t *testing.T, d *device, posID string) *pairing.Bundle {
	t.Helper()
	require.NoError(t, d.GenerateCode())
	b, err := d.client(t, "https", v.root).Pair(t.Context(), pairing.Request{POSID: posID, Code: d.State().Code, Key: v.key})
	require.NoError(t, err)
	return b
}

// pairAndDie pairs with a terminal that is killed, and returns what the POS has.
func (v *victim) pairAndDie(t *testing.T, at string) *pairing.Bundle {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$", "-test.count=1")
	cmd.Env = append(os.Environ(), killAt+"="+at, killToken+"="+v.cfg.Token, killDir+"="+v.dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	v.listen(t, out)
	pinned, err := pairing.RootOf(v.root)
	require.NoError(t, err)
	c := &pairing.Client{URL: "https://" + v.addr, Root: pinned, Name: deviceName}
	var b *pairing.Bundle
	if at != "while a code is shown" {
		b, err = c.Pair(t.Context(), pairing.Request{POSID: "till", Code: v.code, Key: v.key})
		require.Equal(t, b == nil, err != nil)
	}
	if b != nil || at == "while a code is shown" {
		require.NoError(t, cmd.Process.Kill())
	}
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, "%v", exit)
	return b
}

// listen waits until the terminal says where it is, and which code it shows.
func (v *victim) listen(t *testing.T, out io.Reader) {
	t.Helper()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var code string
		if n, _ := fmt.Sscanf(lines.Text(), "terminal %s %s", &v.addr, &code); n == 2 {
			var err error
			v.code, err = pairing.ParseCode(code)
			require.NoError(t, err)
			return
		}
	}
	t.Fatal("the terminal did not start")
}

// check starts the terminal again.
func (v *victim) check(t *testing.T, b *pairing.Bundle, listed bool) {
	t.Helper()
	d := boot(t, v.tok, v.vendor, v.root, v.journal)
	c := d.client(t, "https", v.root)
	text, err := d.greeting(t, c, v.other)
	require.NoError(t, err)
	require.Equal(t, "hello other", text)

	var till []*x509.Certificate
	for _, p := range d.List() {
		if p.ID == "till" {
			till = append(till, p.Certificate)
		}
	}
	require.Equal(t, listed, len(till) == 1)
	switch {
	case b != nil:
		text, err := d.greeting(t, c, b)
		require.NoError(t, err)
		require.Equal(t, "hello till", text)
	case listed:
		require.Equal(t, fmt.Sprintf("%x\n", sha256.Sum256(till[0].Raw)), v.noted(t), "it is in doubt")
	}
	if !listed || b != nil {
		require.Empty(t, v.noted(t), "nothing is in doubt")
	}
	again := v.pair(t, d, "till")
	require.Eventually(t, func() bool { return len(d.List()) == 2 && v.noted(t) == "" }, 30*time.Second, 5*time.Millisecond)
	text, err = d.greeting(t, c, again)
	require.NoError(t, err)
	require.Equal(t, "hello till", text)
}

func (v *victim) noted(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(v.journal)
	require.NoError(t, err)
	return string(text)
}

// beKilled is the terminal.
func beKilled(t *testing.T, at string) {
	dir := os.Getenv(killDir)
	text, err := os.ReadFile(filepath.Join(dir, "root.pem"))
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	root, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	tok := hsmtest.Open(t, hsm.Config{Module: hsmtest.Module(t), Token: os.Getenv(killToken), PIN: hsmtest.Secret(hsmtest.PIN)})
	d := assemble(t, tok, root, filepath.Join(dir, "state", "journal"))
	k := &killer{at: at, terminal: d}
	d.Registry = killingList{d.Registry, k}
	d.Issuer.Key = killingKey{d.Issuer.Key, k}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, d.GenerateCode())
	fmt.Printf("terminal %s %s\n", ln.Addr(), d.State().Code.Reveal())
	require.NoError(t, d.Serve(context.Background(), killingListener{ln, k}))
}

// A killer ends its own process at one point.
type killer struct {
	at       string
	terminal *pairing.Terminal
	listed   atomic.Bool
}

func (k *killer) reach(at string) {
	if k.at == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

type killingKey struct {
	crypto.Signer
	k *killer
}

func (s killingKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.k.reach("before the signature")
	signature, err := s.Signer.Sign(random, digest, opts)
	s.k.reach("after the signature")
	return signature, err
}

type killingList struct {
	pairing.Registry
	k *killer
}

func (l killingList) Add(ctx context.Context, posID string, chain []*x509.Certificate) error {
	l.k.reach("before it is listed")
	err := l.Registry.Add(ctx, posID, chain)
	l.k.reach("after it is listed")
	if l.k.at == "before that is noted" {
		pairing.HoldJournal(l.k.terminal)
	}
	l.k.listed.Store(true)
	return err
}

type killingListener struct {
	net.Listener
	k *killer
}

func (l killingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	l.k.reach("while a request begins")
	return killingConn{conn, l.k}, err
}

type killingConn struct {
	net.Conn
	k *killer
}

func (c killingConn) Write(text []byte) (int, error) {
	if c.k.listed.Load() {
		c.k.reach("before it is sent")
		if c.k.at == "in the middle of it" {
			_, _ = c.Conn.Write(text[:len(text)/2])
			c.k.reach(c.k.at)
		}
	}
	return c.Conn.Write(text)
}
