// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import (
	"sync"
	"time"
)

// A gate counts the calls that are inside a module, and closes when the module
// is to be finalised: a call that meets C_Finalize crashes the process. It is
// not a sync.RWMutex because a hung call must not lock out the others for ever.
// The zero gate is closed.
type gate struct {
	mu     sync.Mutex
	open   bool
	inside int
	empty  chan struct{} // closed when the last call leaves a closed gate
	last   func()        // run when the last call leaves a retired gate
}

// enter lets one call in, unless the gate is closed.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open {
		g.inside++
	}
	return g.open
}

func (g *gate) leave() {
	g.mu.Lock()
	g.inside--
	if g.inside > 0 {
		g.mu.Unlock()
		return
	}
	if g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
	last := g.last
	g.last = nil
	g.mu.Unlock()
	if last != nil {
		last()
	}
}

// retire closes the gate for good and has last run when nobody is inside any
// more, which may be now, later or never. It does not wait for that.
func (g *gate) retire(last func()) {
	g.mu.Lock()
	g.open = false
	if g.inside > 0 {
		g.last = last
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	last()
}

// admit opens the gate.
func (g *gate) admit() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
}

// shut closes the gate and waits until nobody is inside. If somebody still is
// after wait, the gate opens again and shut returns false.
func (g *gate) shut(wait time.Duration) bool {
	g.mu.Lock()
	g.open = false
	if g.inside == 0 {
		g.mu.Unlock()
		return true
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()

	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-empty:
		return true
	case <-timer.C:
		g.admit()
		return false
	}
}
