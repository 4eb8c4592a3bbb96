// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A CRL of an issuer that the store does not know yet counts for what that issuer
// comes with: before it is written, and not only when the token is read again.
func TestUnreadCRL(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	bad, good, other := a.lower.Server("bad.example.com").Leaf, a.lower.Server("good.example.com").Leaf, a.lower.Server("other.example.com").Leaf
	_, err := s.Inject(ctx, "good", a.sent(good)...)
	require.NoError(t, err)
	_, err = s.InjectCRL(ctx, crlOf(t, a.lower, 1, bad))
	require.NoError(t, err)
	require.NoError(t, s.Remove(ctx, "good"))
	left, err := f.device.Certificates(ctx, p11.Filter{})
	require.NoError(t, err)
	require.Len(t, left, 2, "the CRL needs its issuer")
	for _, o := range left { // somebody else has no such scruples
		require.NoError(t, f.device.Destroy(ctx, o.Object))
	}

	s = a.open(t, f)
	_, err = s.Inject(ctx, "bad", a.sent(bad)...)
	revokedBy(t, err, bad, a.lower.Certificate)
	verdicts, err := injectAll(t, s, ctx, []Candidate{{"bad", a.sent(bad)}})
	require.NoError(t, err)
	revokedBy(t, verdicts["bad"].Err, bad, a.lower.Certificate)
	require.Empty(t, f.labels(t))
	_, err = s.Inject(ctx, "lower", a.lower.Certificate, a.upper.Certificate)
	require.NoError(t, err)
	_, err = s.Verify(a.sent(bad), "", serverAuth, time.Now())
	revokedBy(t, err, bad, a.lower.Certificate)
	_, err = s.Verify(a.sent(other), "", serverAuth, time.Now())
	require.NoError(t, err)
}
