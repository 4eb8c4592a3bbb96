// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// State is what a [Tunnel] is doing. The zero State is none.
type State uint8

// The states of a tunnel.
const (
	Listening State = iota + 1
	Draining        // connections may finish, none is accepted
	Ended
)

func (s State) String() string {
	switch s {
	case Listening:
		return "listening"
	case Draining:
		return "draining"
	case Ended:
		return "ended"
	}
	return "none"
}

// Reason says why a connection has ended, or was refused. The values are for logs
// and metrics.
type Reason string

// The reasons.
const (
	ReasonClosed    Reason = "closed"    // both sides have said their last
	ReasonBroken    Reason = "broken"    // one side broke off
	ReasonIdle      Reason = "idle"      // IdleTimeout
	ReasonLifetime  Reason = "lifetime"  // MaxConnAge, or the bytes of one key
	ReasonWithdrawn Reason = "withdrawn" // the peer is not trusted any more
	ReasonDrained   Reason = "drained"   // it did not finish in the DrainTimeout
	ReasonFull      Reason = "full"      // refused: MaxConns or MaxPending
	ReasonHandshake Reason = "handshake" // refused: no, or too slow, or not allowed
	ReasonTarget    Reason = "target"    // refused: the target could not be reached
)

// Status is a snapshot of a [Tunnel].
type Status struct {
	Mode           Mode
	State          State
	Listen, Target string
	Open, Pending  int               // connections now: with a place, and in a server's handshake
	Accepted       uint64            // since the start, refused ones included
	Ended          map[Reason]uint64 // since the start
	// ToTarget and FromTarget are the bytes carried since the start, without
	// what TLS and the PROXY protocol add.
	ToTarget, FromTarget uint64
}

// Status tells what t is doing and has done. It costs nothing and may be called at
// any time.
func (t *Tunnel) Status() Status { return t.tally.snapshot() }

// tally counts for a tunnel.
type tally struct {
	to, from atomic.Uint64

	mu     sync.Mutex
	status Status
}

func (c *tally) snapshot() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Ended = maps.Clone(s.Ended)
	s.State = max(s.State, Listening)
	s.ToTarget, s.FromTarget = c.to.Load(), c.from.Load()
	return s
}

// state never goes back.
func (c *tally) state(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.State = max(c.status.State, s)
}

// begin counts a new connection among the pending, if there is room.
func (c *tally) begin(maxPending, maxConns int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Accepted++
	if c.status.Pending >= maxPending || c.status.Open >= maxConns {
		c.count(ReasonFull)
		return false
	}
	c.status.Pending++
	return true
}

// open gives a pending connection a place, if there is one.
func (c *tally) open(maxConns int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.Open >= maxConns {
		return false
	}
	c.status.Pending--
	c.status.Open++
	return true
}

// end counts what has become of a connection that was pending or open.
func (c *tally) end(wasOpen bool, why Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wasOpen {
		c.status.Open--
	} else {
		c.status.Pending--
	}
	c.count(why)
}

// count needs mu.
func (c *tally) count(why Reason) {
	if c.status.Ended == nil {
		c.status.Ended = make(map[Reason]uint64)
	}
	c.status.Ended[why]++
}

// A throttle lets a flood be reported once a second.
type throttle struct {
	mu   sync.Mutex
	last time.Time
	n    int
}

// pass counts one, and returns how many there were when it is time to say so.
func (t *throttle) pass() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	if !t.last.IsZero() && time.Since(t.last) < time.Second {
		return 0
	}
	n := t.n
	t.last, t.n = time.Now(), 0
	return n
}
