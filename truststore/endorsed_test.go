// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A server of a public CA is trusted because the acquirer has signed it, and it
// alone, before and after a restart.
func TestInjectEndorsed(t *testing.T) {
	t.Parallel()
	a, tok := newAcquirer(), hsmtest.Token(t)
	public := testpki.NewRoot("public root")
	host, neighbour := public.Server("host.example.com").Leaf, public.Server("host.example.com").Leaf
	cms := newNotary(a.lower, same).sign(t, host.Raw, plain, a.lower.Certificate, a.upper.Certificate)
	s := a.open(t, tok.Device())
	_, err := s.InjectEndorsed(t.Context(), "neighbour", neighbour, cms)
	require.ErrorIs(t, err, ErrEndorsement)
	e, err := s.InjectEndorsed(t.Context(), "host", host, cms)
	require.NoError(t, err)
	require.Empty(t, e.Issuers)
	require.Len(t, e.Endorsers, 4)
	_, err = s.InjectEndorsed(t.Context(), "host", host, cms)
	require.NoError(t, err, "again")
	_, err = s.InjectEndorsed(t.Context(), "other", host, cms)
	require.ErrorIs(t, err, ErrExists)

	for _, s := range []*Store{s, a.open(t, tok.Device())} {
		require.Len(t, s.Entries(), 1)
		require.Empty(t, s.Rejected())
		_, err = s.Verify(certs(host, public.Certificate), "host.example.com", x509.ExtKeyUsageServerAuth, time.Now())
		require.NoError(t, err)
		_, err = s.Verify(certs(host), "other.example.com", x509.ExtKeyUsageServerAuth, time.Now())
		require.Error(t, err)
		_, err = s.Verify(certs(host), "", x509.ExtKeyUsageClientAuth, time.Now())
		require.Error(t, err)
		_, err = s.Verify(certs(neighbour), "host.example.com", x509.ExtKeyUsageServerAuth, time.Now())
		require.Error(t, err, "of the same CA, for the same name")
	}

	require.NoError(t, s.Remove(t.Context(), "host"))
	left, err := s.data(t.Context())
	require.NoError(t, err)
	require.Empty(t, left)
	require.Empty(t, a.open(t, tok.Device()).Entries())
}

// An endorsement ends when who has signed it may not any more, or the certificate
// itself is denied.
func TestEndorsedRevoked(t *testing.T) {
	t.Parallel()
	a, tok := newAcquirer(), hsmtest.Token(t)
	host := testpki.NewRoot("public root").Server("host.example.com").Leaf
	n := newNotary(a.root, same)
	s := a.open(t, tok.Device())
	_, err := s.InjectEndorsed(t.Context(), "host", host, n.sign(t, host.Raw, plain))
	require.NoError(t, err)
	for _, c := range []*x509.Certificate{n.cert, host} {
		require.NoError(t, s.Deny(t.Context(), c, "test"))
		require.Empty(t, s.Entries(), c.Subject)
		_, err = s.Verify(certs(host), "host.example.com", x509.ExtKeyUsageServerAuth, time.Now())
		var revoked *RevokedError
		require.ErrorAs(t, err, &revoked)
		require.Equal(t, c, revoked.Certificate)
		require.NoError(t, s.Allow(t.Context(), sha256.Sum256(c.Raw)))
		require.Len(t, s.Entries(), 1)
	}
}

// An endorsement does not lean on issuers that the token has for others: they go with
// those, and the entry would go too.
func TestEndorsedStandsAlone(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	_, err := s.Inject(ctx, "other", a.sent(a.lower.Server("other.example.com").Leaf)...)
	require.NoError(t, err)
	_, err = s.Inject(ctx, "upper", a.upper.Certificate)
	require.NoError(t, err)
	host := testpki.NewRoot("public root").Server("host.example.com").Leaf
	n := newNotary(a.lower, same)
	_, err = s.InjectEndorsed(ctx, "host", host, n.sign(t, host.Raw, plain))
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown)
	require.Empty(t, f.data(t))
	_, err = s.InjectEndorsed(ctx, "host", host, n.sign(t, host.Raw, plain, a.lower.Certificate, a.upper.Certificate))
	require.NoError(t, err)
	require.NoError(t, s.Remove(ctx, "other"))
	require.NoError(t, s.Remove(ctx, "upper"))
	require.Len(t, a.open(t, f).Entries(), 1)
}

// Where the entry cannot be written, its endorsement does not stay either.
func TestEndorsementOfNothing(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, public, n := a.open(t, f), testpki.NewRoot("public root"), newNotary(a.root, same)
	one, two := public.Server("host.example.com").Leaf, public.Server("host.example.com").Leaf
	_, err := s.InjectEndorsed(t.Context(), "host", one, n.sign(t, one.Raw, plain))
	require.NoError(t, err)
	before := f.data(t)
	_, err = s.InjectEndorsed(t.Context(), "host", two, n.sign(t, two.Raw, plain))
	require.ErrorIs(t, err, ErrExists)
	require.Equal(t, before, f.data(t))
}
