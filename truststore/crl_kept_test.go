// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An issuer whose CRL is in the store stays on the token: a peer brings that issuer
// along, and without it the CRL could not be verified after a restart.
func TestIssuerOfCRLStays(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	idle := a.open(t, f) // knows of nothing that follows
	_, err := s.Inject(ctx, "upper", a.upper.Certificate)
	require.NoError(t, err)
	_, err = s.Inject(ctx, "good", a.sent(a.lower.Server("good.example.com").Leaf)...)
	require.NoError(t, err)
	bad := a.lower.Server("bad.example.com").Leaf
	crl, err := s.InjectCRL(ctx, crlOf(t, a.lower, 1, bad))
	require.NoError(t, err)
	require.NoError(t, idle.Remove(ctx, "good"))
	left, err := a.open(t, f).Clean(ctx)
	require.NoError(t, err)
	require.Empty(t, left)
	for _, s := range []*Store{s, idle, a.open(t, f)} {
		_, err = s.Verify(a.sent(bad), "", serverAuth, time.Now())
		revokedBy(t, err, bad, a.lower.Certificate)
	}

	require.NoError(t, s.RemoveCRL(ctx, crl.ID))
	left, err = s.Clean(ctx)
	require.NoError(t, err)
	require.Len(t, left, 2, "the issuers of nothing")
	require.Equal(t, []string{"upper"}, f.labels(t))
}

// An entry whose CRL is in the store stays on the token as an issuer when it stops
// being an entry.
func TestRevokerStays(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	idle := a.open(t, f)
	_, err := s.Inject(ctx, "upper", a.upper.Certificate)
	require.NoError(t, err)
	_, err = s.Inject(ctx, "lower", a.lower.Certificate, a.upper.Certificate)
	require.NoError(t, err)
	good, bad := a.lower.Server("good.example.com").Leaf, a.lower.Server("bad.example.com").Leaf
	crl, err := s.InjectCRL(ctx, crlOf(t, a.lower, 1, bad))
	require.NoError(t, err)
	require.NoError(t, idle.Remove(ctx, "lower"))
	for _, s := range []*Store{idle, a.open(t, f)} {
		_, err = s.Verify(a.sent(bad), "", serverAuth, time.Now())
		revokedBy(t, err, bad, a.lower.Certificate)
		_, err = s.Verify(a.sent(good), "", serverAuth, time.Now())
		require.NoError(t, err, "below the upper one")
	}
	require.NoError(t, s.RemoveCRL(ctx, crl.ID))
	left, err := s.Clean(ctx)
	require.NoError(t, err)
	require.Len(t, left, 2, "the issuers of nothing")
}

// What a CRL in the store revokes stays revoked if the program starts with a clock
// that is behind. A CRL that nobody has injected gains nothing by that.
func TestCRLAndClock(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	bad, worse := a.lower.Server("bad.example.com").Leaf, a.lower.Server("worse.example.com").Leaf
	_, err := s.Inject(ctx, "lower", a.lower.Certificate, a.upper.Certificate)
	require.NoError(t, err)
	_, err = s.InjectCRL(ctx, crlOf(t, a.lower, 1, bad))
	require.NoError(t, err)
	f.plantData(t, crlLabelOf(a.lower), crlOf(t, a.lower, 2, worse).Raw)
	early := a.config()
	early.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
	s, err = open(ctx, f, early)
	require.NoError(t, err)
	require.Equal(t, "crl-this-update", brokenRule(t, s.Rejected()[0].Err))
	_, err = s.Verify(a.sent(bad), "", serverAuth, early.Now())
	revokedBy(t, err, bad, a.lower.Certificate)
	_, err = s.Verify(a.sent(worse), "", serverAuth, early.Now())
	require.NoError(t, err)
	_, err = s.InjectCRL(ctx, crlOf(t, a.lower, 3))
	require.Equal(t, "crl-this-update", brokenRule(t, err))
}

// Anybody may write a CRL with any number of extensions to the token: its signature
// is looked at last.
func TestCRLOfManyExtensions(t *testing.T) {
	t.Parallel()
	var many []pkix.Extension
	for i := range 300_000 {
		many = append(many, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, i}})
	}
	require.True(t, areDistinct(many))
	require.False(t, areDistinct(append(many, many[0])))
}
