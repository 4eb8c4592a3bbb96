// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"context"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A State is how a token is. The zero State is none.
type State = p11.State

// The states of a token.
const (
	// Ready means that the token works.
	Ready = p11.Ready

	// Recovering means that the token lost its sessions, and that they are
	// being opened again. Calls wait, at most for Config.Hold.
	Recovering = p11.Recovering

	// Failed means that the token refused the PIN, or that a try would be the
	// last, or that the PIN's source has none any more. Nothing is tried again
	// before [Token.Reopen].
	Failed = p11.Failed

	// Closed means that the token was closed.
	Closed = p11.Closed
)

// A Status is what a token is doing, and has done since it was opened.
type Status struct {
	State      State
	Since      time.Time // when it got into that state
	Reason     error     // why it is not ready; nil if it is
	Sessions   int       // open, without those of hung calls
	InFlight   int       // calls inside the module, without hung ones
	Queued     int       // calls waiting for a session
	Hung       int       // calls inside the module that nobody waits for any more
	Signatures uint64    // made
	Shed       uint64    // calls turned away with ErrBusy because the queue was full
	Abandoned  uint64    // calls given up while inside the module
	Errors     map[uint]uint64
	Outages    uint64 // how often the sessions were lost
	HostPID    int    // process of Config.ModuleHost; zero without it, and while there is none
	HostKills  uint64 // module hosts that were ended because a call hung in them
	LastOutage Outage // the present or the last one; zero if there was none
}

// An Outage is a time in which a token had no sessions. End is zero while it
// lasts. Cause is the error that revealed it.
type Outage = p11.Outage

// An UnavailableError is returned by calls that waited for a token in vain: for
// longer than Config.Hold if State is Recovering, not at all if it is Failed. It
// wraps what keeps the token from being opened.
type UnavailableError = p11.UnavailableError

// Status says how the token is, without asking it. Errors counts what the
// module answered by CKR_ value; [CodeName] has their names.
func (t *Token) Status() Status { return Status(t.device.Status()) }

// Watch calls f after each change of state, and when a call hangs or returns
// late, until stop is called. f is called from inside the library: it must
// return soon and not use the token.
func (t *Token) Watch(f func(Status)) (stop func()) {
	return t.device.Watch(func(s p11.Status) { f(Status(s)) })
}

// CheckInterval is how often [Token.Check] asks the token at most.
const CheckInterval = 15 * time.Second

// Check proves that the token works, by making a signature with the key that
// was last used; before any was used, by asking for the state of a session. All
// who ask within [CheckInterval] share one result, so that health probes do not
// become load. During an outage it waits like a signature does.
func (t *Token) Check(ctx context.Context) error {
	return wrap(t.device.Check(ctx, CheckInterval))
}

// Reopen tries again after the state [Failed], asking for the PIN anew. In
// other states it waits until the token is ready, at most for Config.Hold.
func (t *Token) Reopen(ctx context.Context) error { return wrap(t.device.Reopen(ctx)) }

// CodeName returns the name that PKCS#11 has for a CKR_ value.
func CodeName(code uint) string { return p11.CodeName(code) }
