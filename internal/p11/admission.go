// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"runtime"
	"sync/atomic"
)

// An admission says how many signatures may be inside the token at once. A token
// that computes on the processors of this machine does not get more done than
// there are processors: with more at once each of them takes longer, and some
// take very long. One that makes the caller wait, because the work is done
// elsewhere, gets as many as there are sessions. Which of the two it is shows in
// the time on a processor that signatures take, by a majority.
//
// The zero admission lets in as many as there are sessions.
type admission struct {
	measured bool         // whether to find out
	waits    atomic.Int32 // signatures that waited, less those that computed, within bounds
}

// majority is by how many signatures an admission changes its mind.
const majority = 4

// processors is how many signatures a token at work on this machine makes at once.
// There are two at least, so that one that hangs does not stop everybody.
func processors() int { return max(2, runtime.GOMAXPROCS(0)) }

// observe takes note of a signature.
func (a *admission) observe(waited bool) {
	n := a.waits.Load()
	switch {
	case waited && n < majority:
		a.waits.CompareAndSwap(n, n+1)
	case !waited && n > -majority:
		a.waits.CompareAndSwap(n, n-1)
	}
}

// limit is how many signatures may be inside with so many sessions.
func (a *admission) limit(sessions int) int {
	if a.measured && a.waits.Load() <= 0 {
		return min(sessions, processors())
	}
	return sessions
}
