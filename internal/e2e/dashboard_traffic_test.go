// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// work is what the fleet goes through while it is looked at, and returns when that is
// over. Whether a visitor gets what it wants is not asked here: the dashboard says it.
func (f *fleet) work(t *testing.T) {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), 88*time.Second)
	var visitors sync.WaitGroup
	defer visitors.Wait()
	defer end()
	for _, m := range f.members() {
		m.Delay("C_Sign", 4*time.Millisecond) // of SoftHSM alone there is little to see
	}
	for range 6 {
		visitors.Go(func() { every(ctx, 150*time.Millisecond, f.speak) })
	}
	direct := f.visitor(f.devices.Client(tillName))
	visitors.Go(func() { every(ctx, 120*time.Millisecond, func(int) { _ = f.visit(ctx, direct, loopback) }) })
	for _, s := range f.strangers() {
		visitors.Go(func() { every(ctx, 500*time.Millisecond, func(int) { _ = f.visit(ctx, s, loopback) }) })
	}
	counter := f.newCounter(t)
	visitors.Go(func() { every(ctx, 6*time.Second, func(i int) { counter.pair(ctx, t, i) }) })
	visitors.Go(func() { every(ctx, 300*time.Millisecond, func(int) { counter.pay(ctx) }) })
	for _, happens := range f.events(t) {
		after(ctx, 12*time.Second)
		happens(ctx)
	}
	<-ctx.Done()
}

// events are what happens every twelve seconds.
func (f *fleet) events(t *testing.T) []func(context.Context) {
	return []func(context.Context){
		f.rush,
		func(ctx context.Context) {
			if err := f.acquirer.trust.Deny(ctx, f.lost, "lost"); err != nil {
				t.Error(err)
			}
		},
		func(ctx context.Context) {
			f.acquirer.Remove()
			after(ctx, 7*time.Second)
			f.acquirer.Insert()
		},
		func(context.Context) { f.acquirer.Hang("C_Sign", 2) },
		func(ctx context.Context) {
			f.acquirer.Release()
			every(ctx, 2*time.Second, func(int) { f.terminal.Fail("C_Sign", 2, faultp11.FunctionFailed) })
		},
	}
}

// every does something again and again, with a pause.
func every(ctx context.Context, pause time.Duration, do func(i int)) {
	for i := 0; ctx.Err() == nil; i++ {
		do(i)
		after(ctx, pause)
	}
}

// after returns when so much time has passed, or ctx has ended.
func after(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// speak is a program without TLS, on the near side of the tunnel.
func (f *fleet) speak(i int) {
	conn, err := net.Dial("tcp", f.till.listen)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write(append([]byte("echo\n"), bytesOf("till", 20_000)...)); err != nil {
		return
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, conn)
}

// visit connects to the acquirer from an address.
func (f *fleet) visit(ctx context.Context, cfg *tls.Config, from string) error {
	d := tls.Dialer{Config: cfg, NetDialer: &net.Dialer{Timeout: 20 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}}
	conn, err := d.DialContext(ctx, "tcp", f.acquirer.listen)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "echo\n"); err != nil {
		return err
	}
	return ping(conn)
}

// visitor is TLS without a token, and without memory of sessions.
func (f *fleet) visitor(own ...tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(f.root.Certificate)
	return &tls.Config{Certificates: own, RootCAs: roots, ServerName: hostName, MaxVersion: tls.VersionTLS12}
}

// strangers are visitors who are refused, each for another reason.
func (f *fleet) strangers() []*tls.Config {
	old := testpki.ClientTemplate("till-2.example")
	old.NotBefore, old.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0)
	late := f.devices.Client("till-2.example")
	late.Certificate[0] = f.devices.Issue(old, late.Leaf.PublicKey).Raw
	late.Leaf = nil
	outdated, careful := f.visitor(), f.visitor(f.devices.Client(tillName))
	outdated.MinVersion, outdated.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	careful.RootCAs = x509.NewCertPool()
	return []*tls.Config{
		f.visitor(f.stranger.Client("till-9.example")), // no anchor vouches for it
		f.visitor(f.root.Client("till-4.example")),     // no trusted entry
		f.visitor(f.devices.Client("till-5.example")),  // no rule names it
		f.visitor(f.devices.Server("till-6.example")),  // a server's certificate
		f.visitor(), // no certificate
		f.visitor(late),
		outdated,
		careful, // does not accept the acquirer
	}
}

// rush is more who come at once, from one address, than the token has time for.
func (f *fleet) rush(ctx context.Context) {
	f.acquirer.Delay("C_Sign", 30*time.Millisecond)
	f.acquirer.Parallel(2)
	ctx, end := context.WithTimeout(ctx, 9*time.Second)
	defer end()
	crowd := f.visitor(f.devices.Client(tillName))
	var running sync.WaitGroup
	for range 150 { // the acquirer has 64 places for one address
		running.Go(func() {
			every(ctx, time.Second, func(int) { _ = f.visit(ctx, crowd, "127.0.0.2") })
		})
	}
	running.Wait()
	f.acquirer.Parallel(0)
	f.acquirer.Delay("C_Sign", 4*time.Millisecond)
}

// A counter is who works at the terminal: it shows codes, and POS pair with them.
type counter struct {
	*member
	pos *pairing.Client

	mu     sync.Mutex
	bundle *pairing.Bundle // of the POS that was paired last
}

func (f *fleet) newCounter(t *testing.T) *counter {
	t.Helper()
	root, err := pairing.RootOf(f.root.Certificate)
	require.NoError(t, err)
	return &counter{member: f.terminal, pos: &pairing.Client{URL: "https://" + f.terminal.listen, Root: root, Name: deviceName}}
}

var shownCode = regexp.MustCompile(`(?m)^code: (\S+) expires:`)

// pair pairs a POS, with a code that somebody has mistyped at first.
func (c *counter) pair(ctx context.Context, t *testing.T, i int) {
	shown := len(shownCode.FindAllString(c.out.String(), -1))
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		t.Error(err)
		return
	}
	codes := [][]string{}
	for ctx.Err() == nil && len(codes) <= shown {
		after(ctx, 50*time.Millisecond)
		codes = shownCode.FindAllStringSubmatch(c.out.String(), -1)
	}
	if ctx.Err() != nil {
		return
	}
	request := pairing.Request{POSID: fmt.Sprintf("till %d", i)}
	request.Code, _ = pairing.ParseCode("00000000")
	_, _ = c.pos.Pair(ctx, request)
	request.Code, _ = pairing.ParseCode(codes[len(codes)-1][1])
	if b, err := c.pos.Pair(ctx, request); err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bundle = b
	}
}

// pay has a POS that is paired connect.
func (c *counter) pay(ctx context.Context) {
	c.mu.Lock()
	b := c.bundle
	c.mu.Unlock()
	if b == nil {
		return
	}
	if conn, err := c.pos.Dial(ctx, b); err == nil {
		conn.Close()
	}
}
