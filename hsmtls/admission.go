// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Admission bounds the handshakes for which a server signs before the client
// has proved anything. A place is taken by the signature and kept until the
// handshake ends; resumed handshakes need none. Beyond the bounds a handshake
// is shed with a [*ShedError].
type Admission struct {
	// Handshakes is how many may hold a place at a time; sixteen times as many
	// may wait for one. Zero means 256, negative is [ErrOutOfRange].
	Handshakes int
	// PerSource is how many of one IP address (one /64 of IPv6) may hold a
	// place or wait. Zero means 64, negative is [ErrOutOfRange].
	PerSource int
}

const (
	defaultHandshakes = 256
	defaultPerSource  = 64
	waitersPerPlace   = 16
)

// ShedError says that a server had no place for another handshake.
type ShedError struct {
	// Source is the client's address without port, empty if it has none.
	Source string
	// PerSource is true when the source itself had too many, false when the
	// server had.
	PerSource bool
}

func (e *ShedError) Error() string {
	if e.PerSource {
		return fmt.Sprintf("hsmtls: handshake shed: too many of %s", e.Source)
	}
	return fmt.Sprintf("hsmtls: handshake of %s shed: server is busy", e.Source)
}

// AdmissionCounters is a snapshot of a Provider's server handshakes.
type AdmissionCounters struct {
	Holding, Waiting       int    // now
	Admitted               uint64 // places given since the start
	ShedBusy, ShedBySource uint64 // refused since the start
}

// AdmissionCounters returns the present counts, all zero before first use.
func (p *Provider) AdmissionCounters() AdmissionCounters { return p.state().admission.snapshot() }

func (a Admission) check() error {
	if a.Handshakes < 0 || a.PerSource < 0 {
		return fmt.Errorf("%w: admission %+v", ErrOutOfRange, a)
	}
	return nil
}

// admission holds the places. It is safe for concurrent use.
type admission struct {
	places    chan struct{}
	perSource int

	mu      sync.Mutex
	sources map[string]int // holding or waiting
	count   AdmissionCounters
}

func newAdmission(limits Admission) *admission {
	if limits.Handshakes <= 0 {
		limits.Handshakes = defaultHandshakes
	}
	if limits.PerSource <= 0 {
		limits.PerSource = defaultPerSource
	}
	return &admission{
		places:    make(chan struct{}, limits.Handshakes),
		perSource: limits.PerSource,
		sources:   make(map[string]int),
	}
}

func (a *admission) snapshot() AdmissionCounters {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

// admissionEntry is one handshake's claim to a place. It belongs to the
// handshake's goroutine.
type admissionEntry struct {
	a       *admission
	ctx     context.Context // done when the handshake is over
	source  string
	limit   time.Duration
	settled bool
	err     error
}

func (a *admission) entry(ctx context.Context, source string, limit time.Duration) *admissionEntry {
	return &admissionEntry{a: a, ctx: ctx, source: source, limit: limit}
}

// admit takes a place, waiting for one if need be. It gives the place back when
// the handshake is over, at the latest after the limit. Asked again, it repeats
// its answer.
func (e *admissionEntry) admit() error {
	if !e.settled {
		e.settled = true
		e.err = e.take()
	}
	return e.err
}

func (e *admissionEntry) take() error {
	if err := e.a.enter(e.source); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(e.ctx, e.limit)
	select {
	case e.a.places <- struct{}{}:
		e.a.hold()
		context.AfterFunc(ctx, func() { cancel(); e.a.release(e.source) })
		return nil
	case <-ctx.Done():
		cancel()
		e.a.giveUp(e.source)
		return &ShedError{Source: e.source}
	}
}

// enter registers a source as waiting.
func (a *admission) enter(source string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.sources[source] >= a.perSource:
		a.count.ShedBySource++
		return &ShedError{Source: source, PerSource: true}
	case a.count.Waiting >= waitersPerPlace*cap(a.places):
		a.count.ShedBusy++
		return &ShedError{Source: source}
	}
	a.sources[source]++
	a.count.Waiting++
	return nil
}

func (a *admission) hold() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count.Waiting--
	a.count.Holding++
	a.count.Admitted++
}

func (a *admission) giveUp(source string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count.Waiting--
	a.count.ShedBusy++
	a.forget(source)
}

func (a *admission) release(source string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	<-a.places
	a.count.Holding--
	a.forget(source)
}

func (a *admission) forget(source string) {
	if a.sources[source]--; a.sources[source] <= 0 {
		delete(a.sources, source)
	}
}

// source returns what the per-source limit counts by: the IPv4 address, or the
// /64 an IPv6 host may pick its address from.
func source(conn net.Conn) string {
	remote := conn.RemoteAddr()
	if remote == nil {
		return ""
	}
	addr, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return remote.String()
	}
	ip := addr.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}
