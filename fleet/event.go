// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import "time"

// A State says how it is between the gateway and a terminal.
type State int

// The states. A terminal with a connection is Connected, whatever else is tried.
const (
	Idle       State = iota // nobody wants it
	Waiting                 // for a place among the handshakes
	Connecting              // network connection and handshake under way
	Connected               // at least one connection is open
	Paused                  // left alone after failures
)

var stateNames = [...]string{"idle", "waiting", "connecting", "connected", "paused"}

// String returns the state in one lower-case word.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// A Status is how it is between the gateway and one terminal.
type Status struct {
	Terminal
	State       State
	Since       time.Time // when State began
	Connections int       // open ones
	Failures    int       // in a row
	Until       time.Time // if Paused: when it is dialled again
	Err         error     // the last failure; nil after a success
}

// An Event is a change of a terminal's State.
type Event struct {
	Status
	Before State
}

// Watch has f called after every change of a terminal's state, until stop is
// called. Calls for one terminal are in order. f must return soon and must not
// call the Fleet.
func (f *Fleet) Watch(watcher func(Event)) (stop func()) {
	f.start()
	f.mu.Lock()
	defer f.mu.Unlock()
	id := f.watched
	f.watched++
	f.watchers[id] = watcher
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, id)
	}
}
