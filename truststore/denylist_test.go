// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestDeny(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	host := a.lower.Server("host.example.com").Leaf
	_, err := s.Inject(ctx, "host", a.sent(host)...)
	require.NoError(t, err)
	running := a.open(t, f)
	sum := sha256.Sum256(host.Raw)
	for _, tt := range []struct {
		name string
		deny func(*Store) error
		cert *x509.Certificate
	}{
		{"certificate", func(s *Store) error { return s.Deny(ctx, host, "stolen") }, host},
		{"fingerprint", func(s *Store) error { return s.DenyFingerprint(ctx, sum, "stolen") }, host},
		{"issuer", func(s *Store) error { return s.Deny(ctx, a.lower.Certificate, "stolen") }, a.lower.Certificate},
		{"anchor", func(s *Store) error { return s.Deny(ctx, a.root.Certificate, "stolen") }, a.root.Certificate},
	} {
		generation := s.Generation()
		require.NoError(t, tt.deny(s), tt.name)
		require.NoError(t, tt.deny(s), "again")
		require.Greater(t, s.Generation(), generation)
		require.NoError(t, running.Refresh(ctx))
		for _, s := range []*Store{s, running, a.open(t, f)} {
			require.Empty(t, s.Entries())
			require.Len(t, s.Denied(), 1)
			require.Equal(t, "stolen", s.Denied()[0].Reason)
			require.Equal(t, describe(tt.cert), s.Denied()[0].Subject)
			revokedBy(t, s.Rejected()[0].Err, tt.cert, nil)
			_, err = s.Inject(ctx, "again", a.sent(host)...)
			revokedBy(t, err, tt.cert, nil)
		}
		require.NoError(t, s.Allow(ctx, sha256.Sum256(tt.cert.Raw)))
		require.ErrorIs(t, s.Allow(ctx, sha256.Sum256(tt.cert.Raw)), ErrNotFound)
		require.NoError(t, running.Refresh(ctx), "it hears of that")
		for _, s := range []*Store{s, running, a.open(t, f)} {
			require.Empty(t, s.Denied())
			require.Len(t, s.Entries(), 1)
		}
	}
	require.Len(t, f.data(t), 3, "one record for each certificate")
}

// A peer below an entry is denied by itself.
func TestDenyPeer(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	_, err := s.Inject(ctx, "ca", a.sent(a.lower.Certificate)[1:]...)
	require.NoError(t, err)
	peer := a.lower.Client("till").Leaf
	_, err = s.Verify(a.sent(peer), "", clientAuth, time.Now())
	require.NoError(t, err)
	require.NoError(t, s.DenyFingerprint(ctx, sha256.Sum256(peer.Raw), ""))
	_, err = s.Verify(a.sent(peer), "", clientAuth, time.Now())
	revokedBy(t, err, peer, nil)

	// A vanished record decides nothing.
	f.wipeData(t)
	require.NoError(t, s.Refresh(ctx))
	require.ErrorIs(t, s.Denied()[0].Err, ErrVanished)
	_, err = s.Verify(a.sent(peer), "", clientAuth, time.Now())
	revokedBy(t, err, peer, nil)
}

// TestDenyOtherSignature turns an ECDSA signature (r, s) into the equally valid
// (r, -s): another fingerprint, the same certificate.
func TestDenyOtherSignature(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	s, err := open(t.Context(), newFaulty(t), Config{Anchors: Anchors{Vendor: certs(root.Certificate)}})
	require.NoError(t, err)
	ca := root.NewIntermediate("CA")
	_, err = s.Inject(t.Context(), "ca", ca.Certificate)
	require.NoError(t, err)
	peer := ca.Client("till").Leaf
	twin := otherSignature(t, peer)
	require.NoError(t, s.Deny(t.Context(), peer, ""))
	_, err = s.Verify(certs(twin), "", clientAuth, time.Now())
	revokedBy(t, err, twin, nil)
}

// Denied once more by its fingerprint, it is denied no less.
func TestDenyAgainByFingerprint(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	_, err := s.Inject(ctx, "ca", a.sent(a.lower.Certificate)[1:]...)
	require.NoError(t, err)
	peer := a.lower.Client("till").Leaf // which the store does not know
	twin, sum := otherSignature(t, peer), sha256.Sum256(peer.Raw)
	require.NoError(t, s.Deny(ctx, peer, "stolen"))
	for _, again := range []func() error{
		func() error { return nil },
		func() error { return s.Allow(ctx, sum) },
	} {
		require.NoError(t, again())
		require.NoError(t, s.DenyFingerprint(ctx, sum, "lost"))
		for _, s := range []*Store{s, a.open(t, f)} {
			require.Equal(t, describe(peer), s.Denied()[0].Subject)
			_, err = s.Verify(a.sent(twin), "", clientAuth, time.Now())
			revokedBy(t, err, twin, nil)
		}
	}
}

func otherSignature(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	var sig struct{ R, S *big.Int }
	_, err := asn1.Unmarshal(c.Signature, &sig)
	require.NoError(t, err)
	order, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	sig.S.Sub(order, sig.S)
	fields, ok := children(c.Raw)
	require.True(t, ok)
	bits := marshal(t, sig)
	fields[2] = asn1.RawValue{FullBytes: marshal(t, asn1.BitString{Bytes: bits, BitLength: 8 * len(bits)})}
	twin, err := x509.ParseCertificate(marshal(t, fields))
	require.NoError(t, err)
	require.False(t, twin.Equal(c))
	return twin
}

func TestDenyRefusals(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	s := a.open(t, newFaulty(t))
	require.ErrorIs(t, s.Deny(t.Context(), nil, ""), errCertificateMissing)
	for _, reason := range []string{strings.Repeat("x", MaxReason+1), "a\nb", "\x1b[2J"} {
		require.ErrorIs(t, s.Deny(t.Context(), a.root.Certificate, reason), errReason)
	}
	require.ErrorIs(t, s.Allow(t.Context(), [32]byte{1}), ErrNotFound)
	var zero Store
	require.ErrorIs(t, zero.Deny(t.Context(), a.root.Certificate, ""), hsm.ErrClosed)
	require.ErrorIs(t, zero.RemoveCRL(t.Context(), "x"), hsm.ErrClosed)
	_, err := zero.InjectCRL(t.Context(), crlOf(t, a.root, 1))
	require.ErrorIs(t, err, hsm.ErrClosed)
	require.Empty(t, zero.Denied())
	require.Empty(t, zero.CRLs())
}

func TestDenyCrash(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s := a.open(t, f)
	for n := 1; ; n++ {
		require.Less(t, n, 30)
		f.arm(n)
		err := s.Deny(t.Context(), a.upper.Certificate, "")
		done := f.calls < n
		f.arm(0)
		require.Equal(t, len(s.Denied()), len(a.open(t, f).Denied()), "call %d", n)
		if done {
			require.NoError(t, err)
			break
		}
		f.wipeData(t)
		s = a.open(t, f)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	s := a.open(t, newFaulty(t))
	calls := 0
	stop := s.Watch(func() { calls++ })
	require.NoError(t, s.Refresh(t.Context()))
	require.Zero(t, calls)
	require.NoError(t, s.Deny(t.Context(), a.upper.Certificate, ""))
	require.Equal(t, 1, calls)
	stop()
	require.NoError(t, s.Allow(t.Context(), sha256.Sum256(a.upper.Certificate.Raw)))
	require.Equal(t, 1, calls)
}

// A revoked till is off the list of the paired ones.
func TestRevokedClients(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("pairing root")
	ca := root.NewIntermediate("pairing CA")
	s, err := open(t.Context(), newFaulty(t), Config{Anchors: Anchors{Pairing: certs(root.Certificate)}})
	require.NoError(t, err)
	c := &Clients{Store: s}
	one, two := till(ca, "1"), till(ca, "2")
	require.NoError(t, c.Add(t.Context(), "1", one))
	require.NoError(t, c.Add(t.Context(), "2", two))
	_, err = s.InjectCRL(t.Context(), crlOf(t, ca, 1, one[0]))
	require.NoError(t, err)
	require.Equal(t, certs(two[0]), c.Clients())
	require.NoError(t, s.Deny(t.Context(), two[0], ""))
	require.Empty(t, c.Clients())
	for _, chain := range [][]*x509.Certificate{one, two} {
		_, err = s.Verify(chain, "", clientAuth, time.Now())
		require.ErrorAs(t, err, new(*RejectedError))
		require.ErrorAs(t, c.Add(t.Context(), "again", chain), new(*RevokedError))
	}
}
