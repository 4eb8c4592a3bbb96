// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hsmtls/hsmtls-go/pairing"
)

const (
	adminHeaderTime = 5 * time.Second
	adminAnswerTime = 20 * time.Second
	adminIdleTime   = 2 * time.Minute // longer than the pause between two scrapes
	adminMaxHeader  = 8 << 10
	adminScrapes    = 4 // at a time
)

// An admin answers, on an address of this machine alone, how a command is. Nothing
// about it changes anything, and no secret is in what it says.
type admin struct {
	address adminAddress
	tally   *tally
	metrics *metrics
	paired  *pairingTally
	began   time.Time

	running // since serve
	health  *healthCheck
	own     *inventory
	label   string // of the token
	model   string
}

func newAdmin(address adminAddress) *admin {
	t := newTally()
	return &admin{
		address: address, tally: t, metrics: newMetrics(t), began: time.Now(), health: new(healthCheck),
		paired: &pairingTally{seen: make(map[pairing.EventKind]uint64)},
	}
}

// enter hears how far the command is.
func (d *admin) enter(s stage) {
	d.health.enter(s)
	if s == ready && d.own != nil {
		d.own.forget()
	}
}

// serve listens, and answers until stop is called.
func (d *admin) serve(ctx context.Context, r running) (stop func(), err error) {
	d.running, d.health.running = r, r
	d.own = &inventory{keys: r.keys}
	if info, err := r.token.Info(ctx); err == nil { // for show
		d.label, d.model = clean(info.Label), clean(info.Model)
	}
	d.metrics.readAll(r, d.own, d.paired)
	ln, err := d.address.listen(ctx)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var working sync.WaitGroup
	unwatch := r.keys.Watch(d.own.forget)
	if r.terminal != nil {
		working.Go(func() { d.paired.follow(life, r.terminal) })
	}
	web := d.server()
	working.Go(func() { _ = web.Serve(ln) }) // ends with Close
	r.say(adminURL(ln))
	return func() {
		unwatch()
		end()
		_ = web.Close()
		working.Wait()
	}, nil
}

func (d *admin) server() *http.Server {
	return &http.Server{
		Handler:           guarded(d.handler()),
		ReadHeaderTimeout: adminHeaderTime,
		ReadTimeout:       adminHeaderTime,
		WriteTimeout:      adminAnswerTime,
		IdleTimeout:       adminIdleTime,
		MaxHeaderBytes:    adminMaxHeader,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
}

func (d *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		h := d.health.look(r.Context())
		code := http.StatusOK
		if !h.ok() {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, h)
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, d.status(r.Context()))
	})
	mux.Handle("/metrics", promhttp.HandlerFor(d.metrics.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: adminScrapes, EnableOpenMetrics: true,
	}))
	mux.HandleFunc("/{$}", d.page)
	mux.HandleFunc("/admin.css", stylesheet)
	return mux
}

// writeJSON writes an object for people and programs.
func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // who asked has gone
}

// adminPolicy lets the page use its own style sheet and nothing else.
const adminPolicy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guarded refuses what would change something, and what was meant for another host: a
// page in a browser on this machine whose name was made to lead here (DNS rebinding).
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", adminPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "nothing can be changed here", http.StatusMethodNotAllowed)
		case !meantForUs(r):
			http.Error(w, "this is a page of the machine itself, and has another name", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// meantForUs does not look at the port: a forwarded one (ssh -L) has another number.
func meantForUs(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if ok && local.Network() == "unix" {
		return true // no browser gets here
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}
