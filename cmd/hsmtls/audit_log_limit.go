// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"sync"
	"time"
)

// vainRecords is how many handshakes a second that came to nothing have a record of their
// own. Anybody on the network can cause them, with a certificate that he has made himself or
// without one, and must not fill the disk.
const vainRecords = 20

// A limiter lets vainRecords a second pass, and counts the rest. The zero value has
// seen none. It is safe for concurrent use.
type limiter struct {
	now func() time.Time // nil for the clock

	mu      sync.Mutex
	second  int64
	passed  int // in that second
	dropped int // since take
}

// pass reports whether there is room for one more.
func (l *limiter) pass() bool {
	now := time.Now
	if l.now != nil {
		now = l.now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := now().Unix(); second != l.second {
		l.second, l.passed = second, 0
	}
	if l.passed == vainRecords {
		l.dropped++
		return false
	}
	l.passed++
	return true
}

// take returns how many did not pass since it was called last.
func (l *limiter) take() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.dropped
	l.dropped = 0
	return n
}
