// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package conformance_test

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/conformance"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// TestIsolated tries SoftHSM in a module host, which is killed when the token is to be lost.
func TestIsolated(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := m.Config(t)
	cfg.ModuleHost = os.Args[0]
	r := conformance.Run(t, conformance.Subject{Config: cfg, Lose: func() { m.KillAt(1) }, WrongPIN: wrongPIN})
	requireAll(t, r, nil)
	require.Equal(t, conformance.Works, r.Of("recovery after lost sessions").Outcome)
	require.Zero(t, m.Misuse())
}

// killHost kills the module host of a token that is well: not in the middle of a login,
// at which SoftHSM 2.6.1 writes the token anew. It asks twice, because a Status may have
// a state from before a host and the host itself. It returns when the end is known here,
// so that no host is killed twice.
func killHost(t *testing.T, token *hsm.Token) {
	t.Helper()
	var host int
	require.Eventually(t, func() bool {
		host = token.Status().HostPID
		s := token.Status()
		return s.State == hsm.Ready && s.HostPID == host && host > 1
	}, 30*time.Second, time.Millisecond)
	require.NoError(t, syscall.Kill(host, syscall.SIGKILL))
	require.Eventually(t, func() bool { return token.Status().HostPID != host }, 30*time.Second, time.Millisecond)
}

// TestHostKilledUnderHandshakes kills the module host again and again while clients
// make full mutual handshakes, for which both sides sign with keys in it: none fails.
func TestHostKilledUnderHandshakes(t *testing.T) {
	t.Parallel()
	cfg := faultp11.New(t).Config(t)
	cfg.ModuleHost = os.Args[0]
	cfg.Hold, cfg.SignTimeout = time.Minute, time.Minute // on a busy machine outages add up
	token := hsmtest.Open(t, cfg)
	p := handshaking(t, token)
	ln, err := p.Listen(t.Context(), "tcp", "127.0.0.1:0", "server")
	require.NoError(t, err)
	var server, clients sync.WaitGroup
	server.Go(func() { echoAll(ln) })
	defer server.Wait()
	defer ln.Close()

	ctx, stop := context.WithCancel(t.Context())
	var made atomic.Int64
	defer clients.Wait()
	defer stop()
	for range 8 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if err := exchange(p, ln.Addr().String()); err != nil {
					t.Errorf("handshake %d: %v", made.Load(), err)
				}
				made.Add(1)
			}
		})
	}
	times := kills(20)
	for range times {
		before := made.Load()
		require.Eventually(t, func() bool { return made.Load() >= before+8 }, 60*time.Second, time.Millisecond)
		killHost(t, token)
	}
	stop()
	clients.Wait()
	require.NoError(t, token.Check(t.Context()))
	s := token.Status()
	t.Logf("%d handshakes, %d kills, %d outages, the last of %v", made.Load(), times, s.Outages, s.LastOutage.End.Sub(s.LastOutage.Start))
	require.GreaterOrEqual(t, s.Outages, uint64(times))
	require.Zero(t, s.Hung)
}

// handshaking puts two identities on a token that trust each other, and resumes
// nothing.
func handshaking(t *testing.T, token *hsm.Token) *hsmtls.Provider {
	t.Helper()
	ctx, keys := t.Context(), keystore.New(token)
	ca := testpki.NewRoot("Isolation Root")
	for alias, template := range map[string]*x509.Certificate{
		"client": testpki.ClientTemplate("client"), "server": testpki.ServerTemplate("127.0.0.1"),
	} {
		key, err := keys.Generate(ctx, alias+"-key", keystore.P256)
		require.NoError(t, err)
		leaf := ca.Issue(template, key.Public())
		require.NoError(t, keys.Inject(ctx, alias, alias+"-key", []*x509.Certificate{leaf}))
	}
	trust, err := truststore.Open(ctx, token, truststore.Config{Anchors: truststore.Anchors{Acquirer: []*x509.Certificate{ca.Certificate}}})
	require.NoError(t, err)
	_, err = trust.Inject(ctx, "ca", ca.Certificate)
	require.NoError(t, err)
	return &hsmtls.Provider{Keys: keys, Trust: trust, SessionLifetime: -1, HandshakeTimeout: 2 * time.Minute, SignTimeout: time.Minute}
}

// exchange makes a connection and has a line come back.
func exchange(p *hsmtls.Provider, addr string) error {
	conn, err := p.Dial(context.Background(), "tcp", addr, "client")
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "noon\n"); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, len("noon\n")))
	return err
}

// echoAll sends back what connections bring.
func echoAll(ln net.Listener) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		open.Go(func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		})
	}
}
