// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestExpiring(t *testing.T) {
	t.Parallel()
	s := open(t)
	shortLived := testpki.NewRoot("short root")
	issuing := shortLived.NewIntermediate("issuing")
	for alias, life := range map[string]time.Duration{"hour": time.Hour, "day": 24 * time.Hour, "year": 365 * 24 * time.Hour} {
		key := generate(t, s, alias+" key")
		template := testpki.ClientTemplate(alias)
		template.NotAfter = time.Now().Add(life)
		chain := append([]*x509.Certificate{issuing.Issue(template, key.Public())}, issuing.Chain()...)
		require.NoError(t, s.Inject(t.Context(), alias, alias+" key", chain))
	}
	for within, want := range map[time.Duration][]string{
		0: {}, 2 * time.Hour: {"hour"}, 48 * time.Hour: {"hour", "day"}, 20 * 365 * 24 * time.Hour: {"hour", "day", "year"},
	} {
		found, err := s.Expiring(t.Context(), within)
		require.NoError(t, err)
		aliases := []string{}
		for _, e := range found {
			require.Equal(t, e.Alias, e.Certificate.Subject.CommonName)
			require.Equal(t, e.Alias+" key", e.KeyAlias)
			require.Positive(t, e.Left(time.Now()))
			aliases = append(aliases, e.Alias)
		}
		require.Equal(t, want, aliases)
	}
	s.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	found, err := s.Expiring(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Negative(t, found[0].Left(s.now()))
	_, err = new(Store).Expiring(t.Context(), 0)
	require.Error(t, err)
}

// TestExpiringIssuer has an issuer that ends before its leaf.
func TestExpiringIssuer(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	issuer := root.Issue(&x509.Certificate{Subject: pkix.Name{CommonName: "issuer"}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}, newP256(t).Public())
	e, ok := IdentityInfo{Alias: "a", Chain: []*x509.Certificate{root.Client("leaf").Leaf, issuer, root.Certificate}}.Expiry()
	require.True(t, ok)
	require.Equal(t, issuer, e.Certificate)
	_, ok = IdentityInfo{}.Expiry()
	require.False(t, ok)
}
