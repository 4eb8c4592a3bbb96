// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"slices"
)

// A snapshot is what the store knows at one time. It is never changed, but for what it
// recalls.
type snapshot struct {
	generation    uint64
	anchors       *anchors
	entries       []Entry // by alias
	rejected      []Rejected
	kept          []*x509.Certificate // issuers on the token, which are no entries
	issuers       issuers             // kept, the entries that are CAs, and what proves entries
	byCertificate map[string]Entry    // by DER
	revocations   *revocations        // nil if nothing is known to be revoked
	recalled      *recall
}

func newSnapshot(from *anchors, entries []Entry, kept []*x509.Certificate, rejected []Rejected) *snapshot {
	s := &snapshot{
		anchors:       from,
		entries:       slices.SortedFunc(slices.Values(entries), func(a, b Entry) int { return cmp.Compare(a.Alias, b.Alias) }),
		rejected:      rejected,
		kept:          distinct(kept),
		issuers:       issuers{},
		byCertificate: make(map[string]Entry, len(entries)),
		recalled:      &recall{paths: make(map[[sha256.Size]byte]goodPath)},
	}
	for _, c := range s.kept {
		s.issuers.add(c)
	}
	for _, e := range s.entries {
		s.byCertificate[string(e.Certificate.Raw)] = e
		if e.Certificate.IsCA {
			s.issuers.add(e.Certificate)
		}
		for _, c := range e.between() {
			s.issuers.add(c)
		}
	}
	return s
}

// with returns a snapshot that has e and its issuers too. What had its alias or
// certificate is gone from the token, or e could not have been written.
func (s *snapshot) with(e Entry) *snapshot {
	entries := slices.DeleteFunc(slices.Clone(s.entries), func(old Entry) bool {
		return old.Alias == e.Alias || old.Certificate.Equal(e.Certificate)
	})
	next := newSnapshot(s.anchors, append(entries, e), slices.Concat(s.kept, e.keptIssuers()), s.rejected)
	next.revocations = s.revocations
	return next
}

// without returns a snapshot that has no entry under an alias.
func (s *snapshot) without(alias string) *snapshot {
	entries := slices.DeleteFunc(slices.Clone(s.entries), func(e Entry) bool { return e.Alias == alias })
	next := newSnapshot(s.anchors, entries, s.kept, s.rejected)
	next.revocations = s.revocations
	return next
}

// distinct sorts certificates, so that the order of a token's answer does not
// look like a change, and drops repetitions.
func distinct(certs []*x509.Certificate) []*x509.Certificate {
	sorted := slices.SortedFunc(slices.Values(certs), func(a, b *x509.Certificate) int { return bytes.Compare(a.Raw, b.Raw) })
	return slices.CompactFunc(sorted, (*x509.Certificate).Equal)
}

// sameTrust reports whether two snapshots accept the same peers.
func (s *snapshot) sameTrust(other *snapshot) bool {
	return s.anchors == other.anchors && slices.EqualFunc(s.entries, other.entries, Entry.equal) &&
		slices.EqualFunc(s.kept, other.kept, (*x509.Certificate).Equal) &&
		s.revocations.same(other.revocations)
}
