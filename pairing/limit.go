// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	rateBurst   = 60          // requests a source may make at once
	rateEvery   = time.Second // and one more every
	rateSources = 4096        // sources remembered; the one heard of longest ago goes first
)

// A limiter bounds the requests of strangers per source. It guards the
// terminal's time, not the code: that is what burning is for. It is safe for
// concurrent use.
type limiter struct {
	mu      sync.Mutex
	order   *list.List // of *bucket, last heard of first
	buckets map[string]*list.Element
}

// A bucket is empty at the time full less the burst.
type bucket struct {
	source string
	full   time.Time // when all tokens are back
}

func newLimiter() *limiter {
	return &limiter{order: list.New(), buckets: make(map[string]*list.Element)}
}

// allow takes a token of source, or says how long it takes for one to come.
func (l *limiter) allow(source string) (wait time.Duration, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(source)
	if b.full.Before(now) {
		b.full = now
	}
	after := b.full.Add(rateEvery)
	if over := after.Sub(now) - rateBurst*rateEvery; over > 0 {
		return over, false
	}
	b.full = after
	return 0, true
}

func (l *limiter) bucket(source string) *bucket {
	if e, ok := l.buckets[source]; ok {
		l.order.MoveToFront(e)
		return e.Value.(*bucket)
	}
	b := &bucket{source: source}
	l.buckets[source] = l.order.PushFront(b)
	if l.order.Len() > rateSources {
		oldest := l.order.Back()
		l.order.Remove(oldest)
		delete(l.buckets, oldest.Value.(*bucket).source)
	}
	return b
}

// sourceOf is what limits count by: the IPv4 address, or the /64 an IPv6 host
// may pick its address from.
func sourceOf(address string) string {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return address
	}
	ip := addr.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}
