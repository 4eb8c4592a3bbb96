// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import (
	"fmt"
	"time"
)

// A State is how a token is. The zero State is none.
type State int

// The states of a token.
const (
	Ready      State = iota + 1 // works
	Recovering                  // lost its sessions; they are being opened again
	Failed                      // was refused the PIN; an operator must help
	Closed                      // was closed by its last user
)

// String returns the state in one word.
func (s State) String() string {
	switch s {
	case Ready:
		return "ready"
	case Recovering:
		return "recovering"
	case Failed:
		return "failed"
	case Closed:
		return "closed"
	}
	return "unknown"
}

// A Status is what a token is doing and has done since it was opened.
type Status struct {
	State      State
	Since      time.Time
	Reason     error // why it is not ready, else nil
	Sessions   int   // open, hung ones not counted
	InFlight   int   // calls inside the module, hung ones not counted
	Queued     int   // calls waiting for a session
	Hung       int   // calls inside the module that nobody waits for any more
	Signatures uint64
	Shed       uint64          // calls turned away because the queue was full
	Abandoned  uint64          // calls given up inside the module
	Errors     map[uint]uint64 // by CKR_ code
	Outages    uint64          // how often the sessions were lost
	HostPID    int             // process of the module host; zero if there is none, or none now
	HostKills  uint64          // module hosts that were ended because a call hung in them
	LastOutage Outage          // the present or the last one; zero if there was none
}

// An Outage is a time without sessions. End is zero while it lasts.
type Outage struct {
	Start, End time.Time
	Cause      error
}

// An UnavailableError is returned when a token did not come back in time, or
// will not come back by itself. It wraps why.
type UnavailableError struct {
	State State // Recovering or Failed
	Err   error
}

// Error says which of the two it is.
func (e *UnavailableError) Error() string {
	if e.State == Failed {
		return fmt.Sprintf("token failed and must be reopened: %v", e.Err)
	}
	return fmt.Sprintf("token is %s: %v", e.State, e.Err)
}

// Unwrap returns what made the token unavailable.
func (e *UnavailableError) Unwrap() error { return e.Err }
