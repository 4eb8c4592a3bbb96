// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import "github.com/hsmtls/hsmtls-go/internal/alias"

// A claim is one name that only one entry may have: its alias, or the
// certificate itself.
type claim struct {
	alias string
	sum   fingerprint
}

func (e proved) claims() [2]claim { return [2]claim{{alias: e.Alias}, {sum: e.sum}} }

// A tally counts the entries that make one claim.
type tally struct{ public, private int }

// settle returns the entries that nobody contends with. The others stay known as
// issuers, which is no trust. Two objects that are the same in everything are one entry. Of two that claim one alias, or hold one
// certificate, a private one prevails over public ones, because those can be
// written without the PIN; else neither is trusted.
func (v *sieve) settle(all []proved) []Entry {
	distinct := merge(all)
	claimed := make(map[claim]tally, 2*len(distinct))
	for _, e := range distinct {
		for _, c := range e.claims() {
			t := claimed[c]
			if e.Private {
				t.private++
			} else {
				t.public++
			}
			claimed[c] = t
		}
	}
	entries := make([]Entry, 0, len(distinct))
	for _, e := range distinct {
		if e.prevails(claimed) {
			entries = append(entries, e.Entry)
		} else {
			v.kept = append(v.kept, e.Certificate)
			v.rejected = append(v.rejected, Rejected{e.Alias, alias.TrustID(e.Certificate.Raw), e.Certificate, ErrAmbiguous})
		}
	}
	return entries
}

func (e proved) prevails(claimed map[claim]tally) bool {
	for _, c := range e.claims() {
		t := claimed[c]
		if e.Private && t.private > 1 || !e.Private && t.public+t.private > 1 {
			return false
		}
	}
	return true
}

// merge makes one entry of those with the same alias and certificate. It is
// private if one of them is.
func merge(entries []proved) []proved {
	merged := make([]proved, 0, len(entries))
	at := make(map[claim]int, len(entries))
	for _, e := range entries {
		whole := claim{e.Alias, e.sum}
		i, known := at[whole]
		if !known {
			at[whole] = len(merged)
			merged = append(merged, e)
			continue
		}
		merged[i].Private = merged[i].Private || e.Private
	}
	return merged
}
