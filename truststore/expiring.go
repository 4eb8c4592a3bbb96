// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"slices"
	"time"
)

// An Expiry is an entry that comes to its end.
type Expiry struct {
	Alias string

	// Certificate ends first of the entry, its issuers or endorsers and its anchor,
	// and the entry with it.
	Certificate *x509.Certificate
}

// Left is how long the entry is still good, negative if it is not any more.
func (e Expiry) Left(now time.Time) time.Duration { return e.Certificate.NotAfter.Sub(now) }

// Expiry returns the entry as one that ends, whenever that is.
func (e Entry) Expiry() Expiry {
	first := e.Certificate
	for _, c := range slices.Concat(e.Issuers, e.Endorsers) {
		if c.NotAfter.Before(first.NotAfter) {
			first = c
		}
	}
	return Expiry{Alias: e.Alias, Certificate: first}
}

// Expiring lists the entries that end within that time from now, and those that
// have ended since they were loaded, the most urgent first. What had ended before
// is among [Store.Rejected]. It does not reach the token.
func (s *Store) Expiring(within time.Duration) []Expiry {
	expiring := []Expiry{}
	for _, entry := range s.Entries() {
		if e := entry.Expiry(); e.Left(s.now()) <= within {
			expiring = append(expiring, e)
		}
	}
	slices.SortStableFunc(expiring, func(a, b Expiry) int { return a.Certificate.NotAfter.Compare(b.Certificate.NotAfter) })
	return expiring
}
