// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// counters are what Status counts.
type counters struct {
	signatures, shed, abandoned atomic.Uint64
	hung                        atomic.Int64

	mu    sync.Mutex
	codes map[uint]uint64
}

// failed counts an error of the module.
func (n *counters) failed(err error) {
	code := codeOf(err)
	if code == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.codes == nil {
		n.codes = map[uint]uint64{}
	}
	n.codes[code]++
}

func (n *counters) errors() map[uint]uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.codes)
}

// A watcher is told of changes.
type watcher struct{ notify func(Status) }

func (c *core) state() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st
}

// unavailable is the answer to who has waited long enough for a token.
func (c *core) unavailable(reason error) error {
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	return &UnavailableError{State: Recovering, Err: reason}
}

// set changes the state and tells everybody. A generation that is lost at once does not
// make the token ready.
func (c *core) set(s State, reason error) {
	c.mu.Lock()
	if c.st == Closed || s == Ready && c.generation.Load() == nil {
		c.mu.Unlock()
		return
	}
	before := c.st
	c.st, c.since, c.reason = s, time.Now(), reason
	switch {
	case before == Ready && s == Recovering:
		c.outages++
		c.outage = Outage{Start: c.since, Cause: reason}
	case s == Ready && before != 0:
		c.outage.End = c.since
	}
	outage := c.outage
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	c.tell(before, s, reason, outage)
	c.announce()
}

// tell logs a change of state.
func (c *core) tell(before, after State, reason error, outage Outage) {
	switch {
	case after == Recovering:
		c.log.Warn("p11: token lost its sessions, opening it again", "cause", reason)
	case after == Failed:
		c.log.Error("p11: token failed, it must be reopened by an operator", "cause", reason)
	case after == Ready && before != 0:
		c.log.Info("p11: token is back", "outage", outage.End.Sub(outage.Start).Round(time.Millisecond))
	}
}

// reasoned updates why a token is not ready yet.
func (c *core) reasoned(err error) {
	c.mu.Lock()
	c.reason = err
	c.mu.Unlock()
	c.log.Debug("p11: token cannot be opened yet", "cause", err)
}

// announce gives the watchers the present status.
func (c *core) announce() {
	c.mu.Lock()
	notify := make([]func(Status), 0, len(c.watchers))
	for w := range c.watchers {
		notify = append(notify, w.notify)
	}
	c.mu.Unlock()
	if len(notify) == 0 {
		return
	}
	status := c.status()
	for _, n := range notify {
		n(status)
	}
}

func (c *core) watch(f func(Status)) (stop func()) {
	w := &watcher{notify: f}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watchers == nil {
		c.watchers = map[*watcher]struct{}{}
	}
	c.watchers[w] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, w)
	}
}

func (c *core) status() Status {
	c.mu.Lock()
	s := Status{State: c.st, Since: c.since, Reason: c.reason, Outages: c.outages, LastOutage: c.outage}
	c.mu.Unlock()
	s.Signatures = c.count.signatures.Load()
	s.Shed = c.count.shed.Load()
	s.Abandoned = c.count.abandoned.Load()
	s.Hung = int(c.count.hung.Load())
	s.Errors = c.count.errors()
	s.HostPID, s.HostKills = c.module.hostPID(), c.module.hangs.Load()
	if g := c.generation.Load(); g != nil {
		s.Sessions, s.InFlight, s.Queued = g.pool.usage()
	}
	return s
}
