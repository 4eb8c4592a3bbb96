// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hsmtls/hsmtls-go/bench/simterminals"
	"github.com/hsmtls/hsmtls-go/fleet"
	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// A gateway is the one under test, with its estate.
type gateway struct {
	o      options
	tok    *hsm.Token
	keys   *keystore.Store
	fleet  *fleet.Fleet
	parts  []*part
	failed atomic.Int64
}

// measure runs one estate through its life.
func (o options) measure(ctx context.Context, lifetime time.Duration) (row, error) {
	dir, err := os.MkdirTemp("", "estate-")
	if err != nil {
		return row{}, err
	}
	defer os.RemoveAll(dir)
	g := &gateway{o: o}
	defer g.close()
	root := testpki.NewRoot("Estate")
	if err := g.open(ctx, dir, root, lifetime); err != nil {
		return row{}, err
	}
	if err := g.spawn(ctx, root); err != nil {
		return row{}, err
	}
	return g.live(ctx, lifetime >= 0)
}

// open makes a token, with the gateway's key and trust in all terminals.
func (g *gateway) open(ctx context.Context, dir string, root *testpki.CA, lifetime time.Duration) (err error) {
	conf, err := hsmtest.WriteConfig(dir)
	if err != nil {
		return err
	}
	if err := os.Setenv("SOFTHSM2_CONF", conf); err != nil {
		return err
	}
	if _, err := hsm.Init(ctx, hsm.InitConfig{Module: g.o.module, Label: "gateway", SOPIN: hsmtest.Secret(hsmtest.SOPIN), PIN: hsmtest.Secret(hsmtest.PIN)}); err != nil {
		return err
	}
	if g.tok, err = hsm.Open(ctx, hsm.Config{Module: g.o.module, Token: "gateway", PIN: hsmtest.Secret(hsmtest.PIN)}); err != nil {
		return err
	}
	g.keys = keystore.New(g.tok)
	key, err := g.keys.Generate(ctx, "gateway", keystore.RSA2048)
	if err != nil {
		return err
	}
	cert := root.Issue(testpki.ClientTemplate("gateway"), key.Public())
	if err := g.keys.Inject(ctx, "gateway_pub", "gateway", []*x509.Certificate{cert}); err != nil {
		return err
	}
	trust, err := truststore.Open(ctx, g.tok, truststore.Config{Anchors: truststore.Anchors{Vendor: []*x509.Certificate{root.Certificate}}})
	if err != nil {
		return err
	}
	if _, err := trust.Inject(ctx, "terminals", root.Certificate); err != nil {
		return err
	}
	g.fleet = &fleet.Fleet{
		Provider: &hsmtls.Provider{Keys: g.keys, Trust: trust, SessionLifetime: lifetime, Sessions: g.o.terminals},
		Alias:    "gateway_pub",
		Suffix:   simterminals.Suffix,
	}
	return nil
}

// spawn starts the terminals.
func (g *gateway) spawn(ctx context.Context, root *testpki.CA) error {
	key, err := x509.MarshalPKCS8PrivateKey(root.Key)
	if err != nil {
		return err
	}
	for first, n := 0, g.o.terminals; first < n; {
		count := min((n+g.o.processes-1)/g.o.processes, n-first)
		p, err := startPart(ctx, share{first, count, root.Certificate.Raw, key})
		if p != nil {
			g.parts = append(g.parts, p)
		}
		if err != nil {
			return err
		}
		for _, t := range p.terminals {
			if err := g.fleet.Set(t); err != nil {
				return err
			}
		}
		first += count
		progress("%d terminals", first)
	}
	return nil
}

// live connects, cuts the power and waits for all to be back.
func (g *gateway) live(ctx context.Context, resumption bool) (r row, err error) {
	r.resumption = resumption
	if r.rate, err = g.rate(ctx); err != nil {
		return r, err
	}
	debug.FreeOSMemory() // of the estate before
	before := resident()
	stop := g.keepAll(ctx)
	defer stop()
	count := g.signatures()
	if r.first, err = g.until(ctx, time.Now(), (*gateway).most); err != nil {
		return r, err
	}
	if _, err = g.until(ctx, time.Now(), (*gateway).all); err != nil {
		return r, err
	}
	r.signedFirst = count()
	r.process = resident()
	r.memory = (r.process - before) / g.o.terminals
	if err := g.cut(ctx); err != nil {
		return r, err
	}
	count = g.signatures()
	g.failed.Store(0)
	if r.back, err = g.until(ctx, time.Now(), (*gateway).most); err != nil {
		return r, err
	}
	_, err = g.until(ctx, time.Now(), (*gateway).all)
	r.signedBack, r.failed = count(), int(g.failed.Load())
	return r, err
}

// rate is how many signatures a second the token makes for eight at a time.
func (g *gateway) rate(ctx context.Context) (float64, error) {
	key, err := g.keys.Key(ctx, "gateway")
	if err != nil {
		return 0, err
	}
	count := g.signatures()
	end := time.Now().Add(5 * time.Second)
	var signers sync.WaitGroup
	for range 8 {
		signers.Go(func() {
			for time.Now().Before(end) {
				if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
					return
				}
			}
		})
	}
	signers.Wait()
	return float64(count()) / 5, nil
}

// signatures counts those from now on.
func (g *gateway) signatures() (count func() uint64) {
	start := g.tok.Status().Signatures
	return func() uint64 { return g.tok.Status().Signatures - start }
}

// keepAll keeps a connection to every terminal.
func (g *gateway) keepAll(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	unwatch := g.fleet.Watch(func(e fleet.Event) {
		if e.State == fleet.Paused {
			g.failed.Add(1)
		}
	})
	var running sync.WaitGroup
	for _, s := range g.fleet.Statuses() {
		running.Go(func() { _ = g.fleet.Keep(ctx, s.Serial, drain) })
	}
	return func() { cancel(); running.Wait(); unwatch() }
}

// drain uses a connection until one side closes it.
func drain(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 256))
	return err
}

// cut turns the power off and on.
func (g *gateway) cut(ctx context.Context) error {
	progress("power cut")
	if err := g.tell("off"); err != nil {
		return err
	}
	select {
	case <-time.After(g.o.outage):
	case <-ctx.Done():
		return ctx.Err()
	}
	defer progress("power is back")
	return g.tell("on")
}

func (g *gateway) tell(command string) error {
	for _, p := range g.parts {
		if err := p.tell(command); err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) most() int { return g.o.terminals - g.o.terminals/100 }
func (g *gateway) all() int  { return g.o.terminals }

// until waits for as many connections, and says how long after start that was.
func (g *gateway) until(ctx context.Context, start time.Time, want func(*gateway) int) (time.Duration, error) {
	for next := time.Now(); ; {
		connected := g.fleet.Counts()[fleet.Connected]
		if connected >= want(g) {
			return time.Since(start), nil
		}
		if time.Since(next) > time.Second {
			next = time.Now()
			progress("%d of %d connected", connected, g.o.terminals)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (g *gateway) close() {
	for _, p := range g.parts {
		p.stop()
	}
	if g.tok != nil {
		g.tok.Close()
	}
}

// resident returns the memory of this process in KiB.
func resident() (kib int) {
	text, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	_, _ = fmt.Sscan(rest, &kib)
	return kib
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}
