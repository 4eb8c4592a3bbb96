// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A terminal is a Terminal with what has happened to it. The mutex of the Fleet
// guards it.
type terminal struct {
	Terminal
	turn chan struct{} // one element while a handshake is wanted

	waiting, connecting, connections int

	failures int
	until    time.Time
	err      error

	state State
	since time.Time
	gone  chan struct{} // closed when it has left the fleet
	moved chan struct{} // closed when Set has changed it, and made anew
}

var serialForm = regexp.MustCompile(`^[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?$`)

// check says what is missing.
func (f *Fleet) check(t Terminal) error {
	_, _, err := net.SplitHostPort(t.Addr)
	switch {
	case f.Provider == nil || f.Suffix == "":
		return fmt.Errorf("%w: provider or suffix is missing", ErrIncomplete)
	case !serialForm.MatchString(t.Serial):
		return fmt.Errorf("%w: serial number %q cannot be part of a host name", ErrIncomplete, t.Serial)
	case err != nil:
		return fmt.Errorf("%w: address of %s: %w", ErrIncomplete, t.Serial, err)
	case t.Alias == "" && f.Alias == "":
		return fmt.Errorf("%w: no alias for %s", ErrIncomplete, t.Serial)
	}
	return nil
}

// Set adds a terminal, or gives one that is there another address or identity.
// Connections that are open stay so; one that moves is not left alone any more.
// The error is [ErrIncomplete].
func (f *Fleet) Set(t Terminal) error {
	if err := f.check(t); err != nil {
		return err
	}
	f.start()
	t.Alias = cmp.Or(t.Alias, f.Alias)
	f.mu.Lock()
	defer f.mu.Unlock()
	key := strings.ToLower(t.Serial)
	known := f.terminals[key]
	if known == nil {
		f.terminals[key] = &terminal{
			Terminal: t, turn: make(chan struct{}, 1), since: f.now(),
			gone: make(chan struct{}), moved: make(chan struct{}),
		}
		return nil
	}
	if known.Terminal != t {
		known.Terminal, known.failures, known.until, known.err = t, 0, time.Time{}, nil
		close(known.moved)
		known.moved = make(chan struct{})
		f.changed(known)
	}
	return nil
}

// Remove takes a terminal out of the fleet. Its connections stay open; Keep ends.
// One that is not there is [ErrUnknown].
func (f *Fleet) Remove(serial string) error {
	f.start()
	f.mu.Lock()
	defer f.mu.Unlock()
	key := strings.ToLower(serial)
	t := f.terminals[key]
	if t == nil {
		return unknown(serial)
	}
	close(t.gone)
	delete(f.terminals, key)
	return nil
}

// Status says how it is with one terminal. One that is not there is [ErrUnknown].
func (f *Fleet) Status(serial string) (Status, error) {
	t, err := f.find(serial)
	if err != nil {
		return Status{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return t.status(), nil
}

// Statuses says how it is with all terminals, sorted by serial number.
func (f *Fleet) Statuses() []Status {
	f.start()
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Status, 0, len(f.terminals))
	for _, t := range f.terminals {
		all = append(all, t.status())
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Serial, b.Serial) })
	return all
}

// Counts returns how many terminals are in which state.
func (f *Fleet) Counts() map[State]int {
	f.start()
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := map[State]int{}
	for _, t := range f.terminals {
		counts[t.state]++
	}
	return counts
}

func (f *Fleet) find(serial string) (*terminal, error) {
	f.start()
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.terminals[strings.ToLower(serial)]; t != nil {
		return t, nil
	}
	return nil, unknown(serial)
}

func unknown(serial string) error { return fmt.Errorf("%w: %q", ErrUnknown, serial) }

func (t *terminal) status() Status {
	return Status{
		Terminal: t.Terminal, State: t.state, Since: t.since, Connections: t.connections,
		Failures: t.failures, Until: t.until, Err: t.err,
	}
}

// update changes a terminal and tells who watches.
func (f *Fleet) update(t *terminal, change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.changed(t)
}

// changed finds out the state of a terminal anew. The caller holds the mutex.
func (f *Fleet) changed(t *terminal) {
	before := t.state
	switch {
	case t.connections > 0:
		t.state = Connected
	case t.connecting > 0:
		t.state = Connecting
	case t.waiting > 0:
		t.state = Waiting
	case !t.until.IsZero():
		t.state = Paused
	default:
		t.state = Idle
	}
	if t.state == before {
		return
	}
	t.since = f.now()
	for _, watcher := range f.watchers {
		watcher(Event{t.status(), before})
	}
}

// paused says why a terminal is not dialled now, or nil.
func (f *Fleet) paused(t *terminal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pausedNow(t)
}

// pausedNow is paused. The caller holds the mutex.
func (f *Fleet) pausedNow(t *terminal) error {
	if t.until.After(f.now()) {
		return &PausedError{t.Serial, t.until, t.failures, t.err}
	}
	return nil
}

// begin turns waiting into connecting, unless who was before in the queue has
// failed once too often, or the terminal has been removed meanwhile. It returns what
// the terminal is by now.
func (f *Fleet) begin(t *terminal) (at Terminal, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.waiting--
	defer f.changed(t)
	if f.terminals[strings.ToLower(t.Serial)] != t {
		return at, unknown(t.Serial)
	}
	if err := f.pausedNow(t); err != nil {
		return at, err
	}
	t.connecting++
	return t.Terminal, nil
}

// end turns connecting into what came of it. An error counts only if the caller
// was still waiting for the connection, and the terminal has not moved meanwhile.
func (f *Fleet) end(t *terminal, at Terminal, conn *countedConn, err error, wanted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.connecting--
	switch {
	case err == nil:
		f.succeeded(t)
		if conn.onClose(func() { f.update(t, func() { t.connections-- }) }) {
			t.connections++
		}
	case wanted && t.Terminal == at && !ours(err):
		f.failed(t, err)
	}
	f.changed(t)
}

// failed counts a failure, and leaves the terminal alone if it was one too many.
// The caller holds the mutex.
func (f *Fleet) failed(t *terminal, err error) {
	t.failures++
	t.err = err
	if over := t.failures - or(f.Failures, defaultFailures); over >= 0 {
		pause := spread(f.pauseAfter(over))
		t.until = f.now().Add(pause)
		f.logger().Warn("fleet: terminal is left alone", "serial", t.Serial, "failures", t.failures, "pause", pause, "err", err)
	}
}

// succeeded forgets the failures. The caller holds the mutex.
func (f *Fleet) succeeded(t *terminal) {
	if !t.until.IsZero() {
		f.logger().Info("fleet: terminal is back", "serial", t.Serial, "failures", t.failures)
	}
	t.failures, t.until, t.err = 0, time.Time{}, nil
}

// pauseAfter doubles the pause with each failure over the limit.
func (f *Fleet) pauseAfter(over int) time.Duration {
	pause, most := or(f.Pause, defaultPause), or(f.MaxPause, defaultMaxPause)
	for range over {
		if pause *= 2; pause >= most {
			return most
		}
	}
	return min(pause, most)
}

// spread returns a time between half of d and d, so that who failed together does
// not come back together.
func spread(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
