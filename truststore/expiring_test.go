// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestExpiring has an entry that ends by itself and one that ends with its issuer.
func TestExpiring(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("acquirer root")
	short := testpki.ServerTemplate("short.example")
	short.NotAfter = time.Now().Add(time.Hour)
	store := openFor(t, hsmtest.Token(t), root)
	key := root.Server("x.example").Leaf.PublicKey
	for alias, cert := range map[string]*x509.Certificate{"short": root.Issue(short, key), "long": root.Server("long.example").Leaf} {
		_, err := store.Inject(t.Context(), alias, cert)
		require.NoError(t, err)
	}
	require.Empty(t, store.Expiring(0))
	soon := store.Expiring(24 * time.Hour)
	require.Len(t, soon, 1)
	require.Equal(t, "short", soon[0].Alias)
	require.Positive(t, soon[0].Left(time.Now()))
	require.Negative(t, soon[0].Left(time.Now().Add(2*time.Hour)))
	all := store.Expiring(2 * 365 * 24 * time.Hour)
	require.Len(t, all, 2)
	require.Equal(t, "long", all[1].Alias)
	require.Empty(t, new(Store).Expiring(time.Hour))

	entry := Entry{Alias: "a", Certificate: root.Certificate, Issuers: []*x509.Certificate{root.Issue(short, key)}}
	require.Equal(t, entry.Issuers[0], entry.Expiry().Certificate)
	endorsed := Entry{Alias: "a", Certificate: root.Certificate, Endorsers: entry.Issuers}
	require.Equal(t, endorsed.Endorsers[0], endorsed.Expiry().Certificate)
}

func openFor(t *testing.T, tok *hsm.Token, root *testpki.CA) *Store {
	t.Helper()
	store, err := Open(t.Context(), tok, Config{Anchors: Anchors{Acquirer: []*x509.Certificate{root.Certificate}}})
	require.NoError(t, err)
	return store
}
