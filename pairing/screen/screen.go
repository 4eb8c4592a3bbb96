// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package screen is the operator's page of a payment terminal: Generate Code, the
// code with the time it has left, where the POS finds the terminal, the paired POS.
// It shows what a [pairing.Terminal] reports, and taps its buttons.
//
// The page is for the machine it runs on. It answers loopback connections only,
// and of these only requests whose Host is a loopback name, so that no web page
// can reach it by rebinding its own name; it changes nothing without the Origin
// and the token of the page itself. Every program on the machine can open it: who
// can run programs on a terminal is its operator.
//
// It needs no script to work. With it, the page follows events.
package screen

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/pairing"
)

// ErrNotLoopback is returned by [Listen] for an address that other machines could
// reach.
var ErrNotLoopback = errors.New("screen: address is not a loopback address")

//go:embed assets
var assets embed.FS

const (
	headerTime   = 5 * time.Second
	idleTime     = time.Minute
	farewellTime = time.Second
	maxHeader    = 8 << 10
	maxForm      = 4 << 10
	maxFollowers = 16 // event streams at a time
)

// A Page is the operator's page of one terminal. Use it by pointer. It is safe
// for concurrent use; its fields must not be changed after the first request.
type Page struct {
	// Terminal is required.
	Terminal *pairing.Terminal
	// Title is the heading. Empty means "Payment terminal".
	Title string

	once  sync.Once
	token string
	mux   *http.ServeMux

	mu        sync.Mutex
	problem   error // why the last tap on Generate Code did nothing
	followers int
}

var _ http.Handler = (*Page)(nil)

// Listen announces a loopback address, such as "127.0.0.1:0" or "localhost:8080".
// Anything else is [ErrNotLoopback], names other than localhost among it.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("screen: %w", err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%w: %q", ErrNotLoopback, addr)
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, port))
}

// Serve serves the page on the connections that ln accepts, until ctx ends; then
// it closes everything and returns nil.
func (p *Page) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	web := &http.Server{
		Handler:           p,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends event streams
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
	}
	var farewell sync.WaitGroup
	defer farewell.Wait()
	farewell.Go(func() {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.Background(), farewellTime)
		defer cancel()
		if web.Shutdown(last) != nil {
			_ = web.Close()
		}
	})
	err := web.Serve(ln)
	cancel()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (p *Page) prepare() {
	p.once.Do(func() {
		p.token = rand.Text()
		p.mux = http.NewServeMux()
		p.mux.HandleFunc("GET /{$}", p.page)
		p.mux.HandleFunc("GET /panel", p.panel)
		p.mux.HandleFunc("GET /events", p.events)
		p.mux.HandleFunc("GET /qr/{address}", p.qr)
		p.mux.HandleFunc("GET /screen.css", asset("screen.css"))
		p.mux.HandleFunc("GET /screen.js", asset("screen.js"))
		p.mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		p.mux.HandleFunc("POST /generate", p.generate)
		p.mux.HandleFunc("POST /close", p.dismiss)
		p.mux.HandleFunc("POST /revoke", p.revoke)
	})
}

// ServeHTTP answers requests of this machine's own browser.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.prepare()
	secure(w.Header())
	if p.Terminal == nil {
		http.Error(w, "the page has no terminal", http.StatusInternalServerError)
		return
	}
	if err := local(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := p.intended(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
	}
	p.mux.ServeHTTP(w, r)
}

func asset(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, assets, "assets/"+name)
	}
}

func (p *Page) generate(w http.ResponseWriter, r *http.Request) {
	err := p.Terminal.GenerateCode()
	p.mu.Lock()
	p.problem = err
	p.mu.Unlock()
	back(w, r)
}

func (p *Page) dismiss(w http.ResponseWriter, r *http.Request) {
	p.Terminal.Dismiss()
	back(w, r)
}

func (p *Page) revoke(w http.ResponseWriter, r *http.Request) {
	err := p.Terminal.Revoke(r.Context(), r.PostFormValue("posId"))
	if err != nil && !errors.Is(err, pairing.ErrUnknown) { // somebody was quicker
		http.Error(w, "the POS could not be revoked: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	back(w, r)
}

func back(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusSeeOther) }
