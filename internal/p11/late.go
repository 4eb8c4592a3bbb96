// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"errors"
	"slices"
	"time"
)

// Signatures that take too long are found by one timer for the whole pool. A timer
// for each, set and stopped within a millisecond, would wake a thread for each.

// expect has a job found when it is late, if it is a signature. One that is made for
// the second time may be late before those that came first. mu is held.
func (p *pool) expect(j *job) {
	if j.run == nil && (p.expected.IsZero() || j.deadline.Before(p.expected)) {
		p.expected = j.deadline
		p.late.Reset(time.Until(j.deadline))
	}
}

// findLate gives up the signatures that are late.
func (p *pool) findLate() {
	p.mu.Lock()
	left := p.giveUpLate()
	p.mu.Unlock()
	if left {
		p.core.announce()
	}
}

// giveUpLate gives up what is late, goes on to expect the next, and reports whether
// any was left inside the module. mu is held.
func (p *pool) giveUpLate() (left bool) {
	p.expected = time.Time{}
	waiting := slices.Concat(p.signing, p.queue)
	slices.SortFunc(waiting, func(a, b *job) int { return a.deadline.Compare(b.deadline) })
	for _, j := range waiting {
		if j.run != nil || time.Now().Before(j.deadline) {
			p.expect(j)
			continue
		}
		err := p.giveUp(j, ErrBusy)
		left = left || errors.Is(err, errAbandoned)
		j.done <- err
	}
	return left
}
