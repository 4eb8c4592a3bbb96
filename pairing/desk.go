// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"sync"
	"time"
)

const (
	codeLife     = 300 * time.Second
	deskTick     = time.Second // how often a shown code is compared with the clocks
	triesPerCode = 5           // wrong ones that burn a code
	burntInARow  = 10          // codes after which only the operator makes a new one
)

// A desk is where the operator shows codes. It hands each out to one POS at
// most. It is safe for concurrent use. All that a remote party can do to it is
// to burn codes, which the operator's tap always cures.
type desk struct {
	now func() time.Time
	hub *hub

	mu     sync.Mutex
	closed bool
	phase  Phase
	code   Code      // shown, or being used
	born   time.Time // of the code, with a monotonic reading
	until  time.Time // by the clock on the wall
	serial uint64    // of the code
	wrong  int
	burnt  int
	posID  string
	timer  *time.Timer
}

func newDesk(now func() time.Time, h *hub) *desk {
	return &desk{now: now, hub: h, phase: PhaseIdle}
}

// A claim is the use of a code by one POS.
type claim struct{ serial uint64 }

// open shows a new code, because the operator wants one.
func (d *desk) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.burnt = 0
	d.show()
	return nil
}

// dismiss shows nothing any more. A POS that has given its code already gets its
// certificate.
func (d *desk) dismiss() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.phase != PhaseIdle {
		d.clear(PhaseIdle)
		d.burnt = 0
		d.tell(Event{Kind: EventClosed})
	}
}

// shut is dismiss for good.
func (d *desk) shut() {
	d.dismiss()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// try compares a code and claims the one shown if it is right. Errors are
// [*refusal]s. The comparison takes constant time; which refusal it is says
// nothing about the code that is shown.
func (d *desk) try(code Code) (claim, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire()
	switch {
	case d.phase == PhaseWorking && code.equal(d.code):
		return claim{}, refuseTaken
	case d.phase != PhaseShowing:
		return claim{}, refuseCode
	case !code.equal(d.code):
		d.miss()
		return claim{}, refuseCode
	}
	d.stop()
	d.phase = PhaseWorking
	d.tell(Event{Kind: EventWorking})
	return claim{d.serial}, nil
}

// miss counts a wrong try.
func (d *desk) miss() {
	if d.wrong++; d.wrong < triesPerCode {
		d.tell(Event{Kind: EventWrong})
		return
	}
	if d.burnt++; d.burnt < burntInARow {
		d.show()
		return
	}
	d.clear(PhaseBlocked)
	d.tell(Event{Kind: EventBlocked})
}

// succeed ends a claim whose POS has its certificate.
func (d *desk) succeed(c claim, posID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.holds(c) {
		d.clear(PhasePaired)
		d.burnt, d.posID = 0, posID
	}
	d.tell(Event{Kind: EventPaired, POSID: posID})
}

// fail ends a claim whose POS has no certificate. The code is used up all the
// same, as somebody may have seen it; another one is shown.
func (d *desk) fail(c claim, posID string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	held := d.holds(c)
	if held {
		d.clear(PhaseIdle)
	}
	d.tell(Event{Kind: EventFailed, POSID: posID, Err: err})
	if held && !d.closed {
		d.show()
	}
}

// holds reports whether the operator is still waiting for this claim.
func (d *desk) holds(c claim) bool { return d.phase == PhaseWorking && d.serial == c.serial }

// show replaces the code.
func (d *desk) show() {
	d.clear(PhaseShowing)
	d.serial++
	d.code, d.born, d.until = newCode(), time.Now(), d.wall().Add(codeLife)
	d.timer = time.AfterFunc(deskTick, d.tick)
	d.tell(Event{Kind: EventCode})
}

func (d *desk) clear(p Phase) {
	d.stop()
	d.phase, d.code, d.posID, d.wrong = p, Code{}, "", 0
	d.born, d.until = time.Time{}, time.Time{}
}

func (d *desk) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

func (d *desk) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.phase != PhaseShowing {
		return
	}
	serial := d.serial
	if d.expire(); d.serial == serial {
		d.timer.Reset(min(deskTick, max(d.left(), time.Millisecond)))
	}
}

// expire replaces a code whose time is up, which also ends the row of burnt ones.
func (d *desk) expire() {
	if d.phase == PhaseShowing && d.left() <= 0 {
		d.burnt = 0
		d.show()
	}
}

// left is how long the code may still be shown. The clock that ran faster
// counts: setting the time back does not prolong a code, and sleep, which stops
// the monotonic clock, does not either.
func (d *desk) left() time.Duration {
	return min(codeLife-time.Since(d.born), d.until.Sub(d.wall()))
}

// wall is the time without a monotonic reading.
func (d *desk) wall() time.Time { return d.now().Round(0) }

func (d *desk) snapshot() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire()
	return d.current()
}

// current needs the lock.
func (d *desk) current() State {
	s := State{Phase: d.phase, Wrong: d.wrong, Burnt: d.burnt, POSID: d.posID}
	if d.phase == PhaseShowing {
		s.Code, s.Expires, s.Left = d.code, d.until, d.left()
	}
	return s
}

// tell needs the lock, so that events come in the order of what they are about.
func (d *desk) tell(e Event) {
	e.State = d.current()
	d.hub.publish(e)
}

// report is tell for what is not about codes.
func (d *desk) report(e Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tell(e)
}

// listen makes l hear of everything after the present state.
func (d *desk) listen(l *listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expire()
	l.put(Event{Kind: EventState, State: d.current()})
	d.hub.join(l)
}
