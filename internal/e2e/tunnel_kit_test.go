// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

// A ledger is the log of a tunnel: why connections have ended, and how often.
type ledger struct {
	slog.Handler
	mu    sync.Mutex
	ended map[tunnel.Reason]uint64
}

func newLedger() *ledger {
	return &ledger{Handler: slog.DiscardHandler, ended: make(map[tunnel.Reason]uint64)}
}

func (l *ledger) Enabled(context.Context, slog.Level) bool { return true }

func (l *ledger) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "reason" {
			l.mu.Lock()
			l.ended[tunnel.Reason(a.Value.String())]++
			l.mu.Unlock()
		}
		return true
	})
	return nil
}

// A half is one half of a tunnel that serves.
type half struct {
	*tunnel.Tunnel
	*ledger
	stop func() error // ends it when its connections have ended, and waits; more than once is once
}

func startHalf(t *testing.T, cfg tunnel.Config) *half {
	t.Helper()
	h := &half{ledger: newLedger()}
	cfg.Logger = slog.New(h.ledger)
	var err error
	h.Tunnel, err = tunnel.Listen(t.Context(), cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx) }()
	h.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = h.stop() })
	return h
}

// patient is a provider for a busy machine and a token that comes and goes.
func (s *station) patient() *hsmtls.Provider {
	p := s.provider()
	p.HandshakeTimeout, p.SignTimeout = 2*time.Minute, time.Minute
	p.Admission = hsmtls.Admission{PerSource: 256}
	return p
}

// tunnelServer accepts whoever has one of these names in front of target.
func (s *station) tunnelServer(t *testing.T, target string, names ...string) *half {
	t.Helper()
	return startHalf(t, tunnel.Config{
		Mode: tunnel.Server, Provider: s.patient(), Alias: acquirer, Listen: loopback + ":0", Target: target,
		Rules: tunnel.Rules{CommonNames: names},
	})
}

// tunnelClient connects to a server.
func (s *station) tunnelClient(t *testing.T, p *hsmtls.Provider, listen string, server *half) *half {
	t.Helper()
	return startHalf(t, tunnel.Config{
		Mode: tunnel.Client, Provider: p, Alias: terminal, Listen: listen, Target: server.Addr().String(), ServerName: loopback,
	})
}

// through starts both halves before target, and returns the client's.
func (s *station) through(t *testing.T, listen, target string) *half {
	t.Helper()
	return s.tunnelClient(t, s.patient(), listen, s.tunnelServer(t, target, "unit 1"))
}

// A target is the program behind a tunnel. A connection begins with a line that
// says what is to be done with it.
type target struct {
	net.Listener
	working sync.WaitGroup
	clean   atomic.Int64 // connections whose stream has ended
	broken  atomic.Int64 // and those where it broke off
	late    atomic.Int64 // bytes that came after the target's own end
}

func startTarget(t *testing.T) *target {
	t.Helper()
	ln, err := net.Listen("tcp", loopback+":0")
	require.NoError(t, err)
	g := &target{Listener: ln}
	g.working.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			g.working.Go(func() { g.serve(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { ln.Close(); g.working.Wait() })
	return g
}

const aborted = 1000 // bytes that the target sends before it breaks off

func (g *target) serve(conn *net.TCPConn) {
	defer conn.Close()
	from := bufio.NewReader(conn)
	line, err := from.ReadString('\n')
	if err == nil {
		err = g.obey(strings.Fields(line), conn, from)
	}
	if err != nil {
		g.broken.Add(1)
		return
	}
	g.clean.Add(1)
}

// obey does what a line says.
func (g *target) obey(order []string, conn *net.TCPConn, from io.Reader) error {
	switch order[0] {
	case "echo": // all that comes
		if _, err := io.Copy(conn, from); err != nil {
			return err
		}
		return conn.CloseWrite()
	case "digest": // of all that has come, after its end
		sum := sha256.New()
		if _, err := io.Copy(sum, from); err != nil {
			return err
		}
		_, err := io.WriteString(conn, hex.EncodeToString(sum.Sum(nil)))
		return err
	case "speak": // first, and listen to what comes then
		if _, err := conn.Write(bytesOf(order[1], 64<<10)); err != nil {
			return err
		}
		if err := conn.CloseWrite(); err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, from)
		g.late.Add(n)
		return err
	case "listen": // say so
		if _, err := conn.Write([]byte("!")); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, from)
		return err
	case "abort": // in the middle
		_, _ = conn.Write(make([]byte, aborted))
		_ = conn.SetLinger(0)
		return errAborted
	}
	return fmt.Errorf("order %q", order)
}

var errAborted = errors.New("as it was told")

// bytesOf makes bytes of a seed, the same again for the same.
func bytesOf(seed string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(b)
	return b
}
