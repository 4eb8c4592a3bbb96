// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package fleet dials thousands of terminals with one identity, or a few, whose
// key is in a token.
//
// A gateway knows a terminal by its serial number and by the address it has at
// the moment. The certificate of a terminal has neither: it has a device name,
// the serial number and a suffix that all terminals of an estate share. So a
// [Fleet] dials the address and has the terminal prove the name.
//
//	f := &fleet.Fleet{Provider: provider, Alias: "gateway_pub", Suffix: "terminals.example"}
//	f.Set(fleet.Terminal{Serial: "0042", Addr: "10.1.2.3:8443"})
//	client := &http.Client{Transport: f.Transport()}
//	client.Get("https://0042.terminals.example/status")
//
// # What a token can take
//
// A token makes some hundred signatures a second, and every full handshake costs
// one. When the power comes back, the whole estate wants one at once. A Fleet
// therefore bounds the handshakes under way, in the order of their asking; gives
// each terminal one place in that queue, so that one which reconnects all the time
// delays the others by one handshake and no more; leaves a terminal alone for a
// while that has failed some times in a row; and lets those pass by the queue
// that can resume a session, which costs no signature.
package fleet

import (
	"log/slog"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// A Fleet is a set of terminals to dial. Its exported fields must not be changed,
// and it must not be copied, after the first call. It is safe for concurrent use.
// There is nothing to close: connections belong to who has dialled them.
type Fleet struct {
	// Provider supplies keys, trust and policy. Required. Its Sessions should be
	// no fewer than there are terminals.
	Provider *hsmtls.Provider

	// Alias is the identity to present to terminals that name none.
	Alias string

	// Suffix is what the device names of all terminals end with, without the
	// dot before it. Required.
	Suffix string

	// Handshakes is how many full handshakes may be under way at a time. Zero
	// means 64. Four times as many may resume sessions meanwhile.
	Handshakes int

	// Failures is how many times in a row a terminal must fail before it is
	// left alone for a while. Zero means 3.
	Failures int

	// Pause is how long it is left alone at first, and how long [Fleet.Keep] waits
	// at most before it connects again; MaxPause is where the doubling from failure
	// to failure ends. Both are spread at random. Zero means 1 s and 2 min.
	Pause, MaxPause time.Duration

	// Timeout bounds connecting and handshake, from the moment on at which the
	// terminal has a place among the handshakes. Zero means 20 s.
	Timeout time.Duration

	// Now is the clock of pauses. Nil means [time.Now].
	Now func() time.Time

	// Logger hears of terminals that are left alone and come back. Nil means that
	// nobody does.
	Logger *slog.Logger

	once     sync.Once
	full     chan struct{} // one element for each full handshake under way
	resuming chan struct{} // likewise for those that resume

	mu        sync.Mutex
	terminals map[string]*terminal // by serial number in lower case
	watchers  map[int]func(Event)
	watched   int
}

// A Terminal is one terminal of the estate.
type Terminal struct {
	// Serial is the serial number: 1 to 63 letters, digits and hyphens, in any
	// case, as in a host name. Required.
	Serial string

	// Addr is where it is now, as "host:port". Required.
	Addr string

	// Alias is the identity to present to it. Empty means that of the Fleet.
	Alias string
}

const (
	defaultHandshakes = 64
	defaultFailures   = 3
	defaultPause      = time.Second
	defaultMaxPause   = 2 * time.Minute
	defaultTimeout    = 20 * time.Second

	resumingPerFull = 4
)

// start makes what the zero Fleet lacks.
func (f *Fleet) start() {
	f.once.Do(func() {
		n := or(f.Handshakes, defaultHandshakes)
		f.full = make(chan struct{}, n)
		f.resuming = make(chan struct{}, resumingPerFull*n)
		f.terminals = map[string]*terminal{}
		f.watchers = map[int]func(Event){}
	})
}

func (f *Fleet) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

func (f *Fleet) dialTimeout() time.Duration { return or(f.Timeout, defaultTimeout) }

func (f *Fleet) logger() *slog.Logger {
	if f.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Logger
}

func or[T ~int | ~int64](given, zero T) T {
	if given <= 0 {
		return zero
	}
	return given
}
