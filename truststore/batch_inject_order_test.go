// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A candidate may be proved by one before it, as with one Inject after the other.
func TestInjectAllProvedByOneBefore(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	host := a.lower.Server("host.example.com").Leaf
	for name, first := range map[string]Candidate{
		"a CA":                   {"first", certs(a.lower.Certificate, a.upper.Certificate)},
		"the issuers of another": {"first", a.sent(a.lower.Server("first.example.com").Leaf)},
	} {
		s := a.open(t, newFaulty(t))
		verdicts, err := injectAll(t, s, t.Context(), []Candidate{{"too early", certs(host)}, first, {"host", certs(host)}})
		require.NoError(t, err)
		require.Len(t, verdicts, 3)
		isUnknownAuthority(t, verdicts["too early"].Err)
		require.NoError(t, verdicts["first"].Err, name)
		require.NoError(t, verdicts["host"].Err, name)
		require.Len(t, s.Entries(), 2)
	}
}
