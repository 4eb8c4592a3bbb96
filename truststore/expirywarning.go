// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"log/slog"
	"math"
	"time"
)

const (
	defaultExpiryWarning = 30 * 24 * time.Hour
	warnEvery            = 24 * time.Hour

	// crlDue is the part of its time, from thisUpdate to nextUpdate, with which a
	// CRL is due. Many are made for less than a month, and good for most of it.
	crlDue = 4
)

// LogExpiring writes a warning if something ends within that time: an entry, an
// anchor, or a CRL that has used up three quarters of its time. It is one record for
// all of them, which names what ends first, and one a day, however often LogExpiring
// is called. A hsmtls.Provider calls it; a store with a Logger does so by itself
// whenever it is loaded. It does not reach the token, and is safe for concurrent use.
func (s *Store) LogExpiring(log *slog.Logger, within time.Duration) {
	if s.now == nil || log == nil {
		return
	}
	now := s.now()
	last := s.looked.Load()
	if last != 0 && now.UnixNano()-last < int64(warnEvery) || !s.looked.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	e := s.ending(now, within)
	if e.entries+e.anchors+e.crls == 0 {
		return
	}
	log.Warn("trust ends soon", slog.Int("entries", e.entries), slog.Int("anchors", e.anchors), slog.Int("crls", e.crls),
		slog.String("first", e.first), slog.Time("until", e.until.UTC()), slog.Int("days_left", days(e.until.Sub(now))))
}

// warnOfEnds is LogExpiring for a store that has a logger of its own.
func (s *Store) warnOfEnds() {
	if within := cmp.Or(s.given.ExpiryWarning, defaultExpiryWarning); within > 0 {
		s.LogExpiring(s.given.Logger, within)
	}
}

// An ending counts what comes to its end.
type ending struct {
	entries, anchors, crls int

	first string // the name of what ends first
	until time.Time
}

func (s *Store) ending(now time.Time, within time.Duration) (e ending) {
	known := s.snapshot()
	for _, entry := range known.entries {
		if x := entry.Expiry(); x.Left(now) <= within {
			e.count(&e.entries, entry.Alias, x.Certificate.NotAfter)
		}
	}
	for _, a := range known.anchors.all {
		if a.NotAfter.Sub(now) <= within {
			e.count(&e.anchors, a.Subject.String(), a.NotAfter)
		}
	}
	for _, c := range known.revocations.report(now) {
		due := min(within, c.NextUpdate.Sub(c.ThisUpdate)/crlDue)
		if !c.NextUpdate.IsZero() && c.NextUpdate.Sub(now) <= due {
			e.count(&e.crls, "CRL of "+c.Issuer, c.NextUpdate)
		}
	}
	return e
}

func (e *ending) count(n *int, name string, until time.Time) {
	*n++
	if e.first == "" || until.Before(e.until) {
		e.first, e.until = name, until
	}
}

// days is how many whole days are left, negative after the end.
func days(left time.Duration) int { return int(math.Floor(left.Hours() / 24)) }
