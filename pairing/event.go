// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"
)

// A Phase is what the operator's screen has to show. The zero Phase is none.
type Phase int

// The phases of pairing.
const (
	PhaseIdle    Phase = iota + 1 // the button Generate Code
	PhaseShowing                  // the code and the time it has left
	PhaseWorking                  // a POS has given the code and is being issued a certificate
	PhasePaired                   // POS Activation Successful
	PhaseBlocked                  // too many wrong codes: the button again, with the reason
)

var phaseNames = []string{"none", "idle", "showing", "working", "paired", "blocked"}

func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		p = 0
	}
	return phaseNames[p]
}

// A State is a snapshot of what is shown.
type State struct {
	Phase Phase
	// Code is what to show in PhaseShowing, otherwise zero.
	Code Code
	// Expires is when Code is replaced, by the terminal's clock.
	Expires time.Time
	// Left is how long that was from when the state was asked for.
	Left time.Duration
	// Wrong is how many wrong codes were tried since this one is shown; the
	// fifth replaces it.
	Wrong int
	// Burnt is how many codes in a row were replaced for that reason; after the
	// tenth it takes the operator to make another.
	Burnt int
	// POSID is the POS that was paired, in PhasePaired.
	POSID string
}

// An EventKind says what happened. The zero EventKind is nothing.
type EventKind int

// The kinds of events.
const (
	EventState   EventKind = iota + 1 // nothing: the first event says how things are
	EventCode                         // another code is shown
	EventWrong                        // a wrong code was tried
	EventBlocked                      // ten codes in a row were burnt
	EventWorking                      // the code was given; it is used up
	EventPaired                       // the POS POSID has its certificate
	EventFailed                       // the POS POSID has not; Err says why
	EventClosed                       // the operator closed the screen
	EventRenewed                      // the POS POSID has another certificate
	EventRevoked                      // the POS POSID is no longer listed
)

var eventNames = []string{"none", "state", "code", "wrong", "blocked", "working", "paired", "failed", "closed", "renewed", "revoked"}

func (k EventKind) String() string {
	if k < 0 || int(k) >= len(eventNames) {
		k = 0
	}
	return eventNames[k]
}

// An Event is something the operator's screen may want to show.
type Event struct {
	Kind  EventKind
	State State  // after the event
	POSID string // of EventPaired, EventFailed, EventRenewed, EventRevoked
	Err   error  // of EventFailed
}

// maxEvents bounds what waits for a listener that is busy. The oldest go first:
// every event has the whole state.
const maxEvents = 64

// hub passes events on. It is safe for concurrent use.
type hub struct {
	mu        sync.Mutex
	listeners map[*listener]struct{}
}

type listener struct {
	mu      sync.Mutex
	waiting []Event
	wake    chan struct{} // holds one element if something is waiting
}

func (h *hub) publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		l.put(e)
	}
}

func (h *hub) join(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = make(map[*listener]struct{})
	}
	h.listeners[l] = struct{}{}
}

func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
}

func newListener() *listener { return &listener{wake: make(chan struct{}, 1)} }

func (l *listener) put(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, e)
	if len(l.waiting) > maxEvents {
		l.waiting = slices.Delete(l.waiting, 0, 1)
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *listener) take() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := l.waiting
	l.waiting = nil
	return events
}

// each yields events until ctx or done ends.
func (l *listener) each(ctx context.Context, done <-chan struct{}, yield func(Event) bool) {
	for {
		for _, e := range l.take() {
			if !yield(e) {
				return
			}
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		case <-done:
			return
		}
	}
}

// Events yields what happens from now on, until ctx ends or the Terminal is
// closed. The first event is the present state. A loop that is slower than the
// events misses the oldest. Any number of loops may run at the same time.
func (t *Terminal) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		s := t.state()
		l := newListener()
		s.desk.listen(l)
		defer s.hub.leave(l)
		l.each(ctx, s.closed, yield)
	}
}
