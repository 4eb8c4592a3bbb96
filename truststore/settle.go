// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import "github.com/hsmtls/hsmtls-go/internal/alias"

// A claim is one name that only one entry may have: its alias, or the
// certificate itself.
type claim struct {
	alias, der string
}

func claimsOf(e Entry) [2]claim {
	return [2]claim{{alias: e.Alias}, {der: string(e.Certificate.Raw)}}
}

// settle returns the entries that nobody contends with. Two objects that are the
// same in everything are one entry. Of two that claim one alias, or hold one
// certificate, a private one prevails over public ones, because those can be
// written without the PIN; else neither is trusted.
func (v *sieve) settle(proved []Entry) (entries []Entry) {
	public, private := map[claim]int{}, map[claim]int{}
	distinct := merge(proved)
	for _, e := range distinct {
		for _, c := range claimsOf(e) {
			if e.Private {
				private[c]++
			} else {
				public[c]++
			}
		}
	}
	for _, e := range distinct {
		if prevails(e, public, private) {
			entries = append(entries, e)
		} else {
			v.rejected = append(v.rejected, Rejected{e.Alias, alias.TrustID(e.Certificate.Raw), e.Certificate, ErrAmbiguous})
		}
	}
	return entries
}

func prevails(e Entry, public, private map[claim]int) bool {
	for _, c := range claimsOf(e) {
		if e.Private && private[c] > 1 || !e.Private && public[c]+private[c] > 1 {
			return false
		}
	}
	return true
}

// merge makes one entry of those with the same alias and certificate. It is
// private if one of them is.
func merge(entries []Entry) (merged []Entry) {
	at := map[[2]claim]int{}
	for _, e := range entries {
		i, known := at[claimsOf(e)]
		if !known {
			at[claimsOf(e)] = len(merged)
			merged = append(merged, e)
			continue
		}
		merged[i].Private = merged[i].Private || e.Private
	}
	return merged
}
