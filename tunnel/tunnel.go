// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package tunnel carries byte streams between a plain socket and mutual TLS, for
// programs that cannot link this module: a server accepts mutual TLS and forwards
// to a plain target, a client accepts plain connections and dials mutual TLS. The
// certificate, its key and the trust are those of an hsmtls.Provider.
//
// Nothing is open by default. The plain side is a Unix socket or a loopback
// address unless [Config].UnsafePlain says otherwise, and a server accepts nobody
// without [Config].Rules unless [Config].AllowAll says so.
//
// # What becomes of an end
//
// The end of a stream is handed on in its own direction, and the other goes on:
// close_notify on one side is a half-closed socket on the other. A stream that
// breaks off, and TLS that ends without close_notify, is never handed on as an
// end: the other side is reset, on a Unix socket closed, and TLS ends without
// close_notify in turn. Only a peer that is not trusted any more gets close_notify,
// from the Provider that withdraws it.
package tunnel

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// A Tunnel accepts connections and forwards each to the target. Its methods are
// safe for concurrent use; Serve is called once.
type Tunnel struct {
	cfg    Config
	ln     net.Listener
	target address
	dialer hsmtls.Dialer // of a client
	tally  tally
	full   throttle

	working sync.WaitGroup // one for each connection
}

// Listen announces cfg.Listen. Connections wait for [Tunnel.Serve], which must
// follow, or Close. It asks the Provider for the certificate of the alias; the token
// signs nothing.
//
// Errors are those of [Config.Check], hsmtls.ErrIncomplete and hsmtls.ErrOutOfRange
// for a Provider or an alias that cannot work, and those of listening.
func Listen(ctx context.Context, cfg Config) (*Tunnel, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Provider == nil || cfg.Provider.Trust == nil {
		return nil, incomplete("no provider, or one without trust")
	}
	t := &Tunnel{cfg: cfg}
	t.tally.status.Mode, t.tally.status.Target = cfg.Mode, cfg.Target
	t.target, _ = parseAddress(cfg.Target) // Check has done so
	cfg.Rules.guard(cfg.Provider)
	if err := t.listen(ctx); err != nil {
		return nil, err
	}
	t.tally.status.Listen = t.Addr().String()
	return t, nil
}

func (t *Tunnel) listen(ctx context.Context) (err error) {
	cfg, p := &t.cfg, t.cfg.Provider
	at, _ := parseAddress(cfg.Listen)
	if cfg.Mode == Client {
		p.Keys = &lastGood{keys: p.Keys, log: t.log()}
		if _, err := p.Keys.Certificate(ctx, cfg.Alias); err != nil {
			return fmt.Errorf("%w: alias %q: %w", hsmtls.ErrIncomplete, cfg.Alias, err)
		}
		t.dialer = hsmtls.Dialer{Provider: p, Alias: cfg.Alias, ServerName: cfg.ServerName, NetDial: t.dialRaw}
		t.ln, err = at.listen(ctx, !cfg.UnsafePlain)
		return err
	}
	inner, err := at.listen(ctx, false)
	if err != nil {
		return err
	}
	if t.ln, err = (&hsmtls.ListenConfig{Provider: p, Alias: cfg.Alias}).NewListener(ctx, strictListener{inner}); err != nil {
		inner.Close()
	}
	return err
}

// Addr returns the address that is listened on.
func (t *Tunnel) Addr() net.Addr { return t.ln.Addr() }

// Close stops listening. Connections that are open go on: the end of Serve's
// context is what drains a tunnel.
func (t *Tunnel) Close() error { return t.ln.Close() }

// Serve forwards connections until ctx ends. Then it stops listening, waits until
// the connections have ended, at most for the DrainTimeout, breaks off the rest,
// and returns nil. It returns an error only if listening failed or was ended by
// Close.
func (t *Tunnel) Serve(ctx context.Context) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	stop := context.AfterFunc(ctx, func() {
		t.tally.state(Draining)
		t.ln.Close()
	})
	defer stop()
	err := t.accept(ctx, life)
	t.tally.state(Draining)
	t.ln.Close()
	t.drain(end)
	t.tally.state(Ended)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// drain waits for the connections, but not for ever.
func (t *Tunnel) drain(end func()) {
	if open := t.Status().Open; open > 0 {
		t.log().Info("draining", slog.Int("open", open), slog.Duration("timeout", t.cfg.drainTimeout()))
	}
	late := time.AfterFunc(t.cfg.drainTimeout(), end)
	defer late.Stop()
	t.working.Wait()
}

// accept takes connections until the listener is closed. Other errors, such as too
// many open files, pass.
func (t *Tunnel) accept(ctx, life context.Context) error {
	for pause := time.Duration(0); ; {
		conn, err := t.ln.Accept()
		switch {
		case err == nil:
			pause = 0
			t.take(life, conn)
			continue
		case ctx.Err() != nil || isClosed(err):
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		t.log().Warn("cannot accept", slog.Any("error", err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// take begins with a connection, or refuses it at once where there are too many.
func (t *Tunnel) take(life context.Context, conn net.Conn) {
	if !t.tally.begin(t.cfg.maxPending(), t.cfg.maxConns()) {
		sever(conn)
		if n := t.full.pass(); n > 0 {
			t.log().Warn("connections refused: too many", slog.Int("connections", n))
		}
		return
	}
	l := &link{t: t, in: conn, began: time.Now()}
	if t.cfg.Mode == Client {
		l.dial = l.dialTLS
	} else {
		l.dial, l.secure = l.dialPlain, conn.(*tls.Conn)
	}
	t.working.Go(func() { l.run(life) })
}

func (t *Tunnel) log() *slog.Logger {
	if t.cfg.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return t.cfg.Logger
}
