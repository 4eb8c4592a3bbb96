// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestInventory lists a token that has something of everything, with a few and with
// many new objects.
func TestInventory(t *testing.T) {
	t.Parallel()
	token := hsmtest.Token(t).Device()
	list := func(last *p11.Inventory, certificates, data, keys int) *p11.Inventory {
		t.Helper()
		now, err := token.Inventory(t.Context(), last)
		require.NoError(t, err)
		require.Len(t, now.Of(p11.ClassCertificate), certificates)
		require.Len(t, now.Of(p11.ClassData), data)
		require.Len(t, now.Of(p11.ClassPrivateKey), keys)
		return now
	}
	var none *p11.Inventory
	require.Empty(t, none.Of(p11.ClassData))
	empty := list(nil, 0, 0, 0)

	der := testpki.NewRoot("root").Certificate.Raw
	for range 70 {
		_, err := token.CreateCertificate(t.Context(), p11.CertificateTemplate{Label: "one of many", Value: der})
		require.NoError(t, err)
	}
	id := []byte("key")
	_, err := token.GenerateKey(t.Context(), p11.KeyTemplate{Label: "key", ID: id, Type: p11.P256})
	require.NoError(t, err)
	written, err := token.CreateData(t.Context(), p11.DataTemplate{Label: "data", Application: "test", Value: []byte("value")})
	require.NoError(t, err)
	full := list(empty, 70, 1, 1)
	require.Len(t, full.Of(p11.ClassOther), 1, "the public key")

	data, err := token.ReadData(t.Context(), full.Of(p11.ClassData))
	require.NoError(t, err)
	require.Equal(t, []p11.Data{written}, data)
	ids, err := token.KeyIDs(t.Context(), full.Of(p11.ClassPrivateKey))
	require.NoError(t, err)
	require.Equal(t, [][]byte{id}, ids)

	last, err := token.CreateCertificate(t.Context(), p11.CertificateTemplate{Label: "one more", Value: der})
	require.NoError(t, err)
	now := list(full, 71, 1, 1)
	require.Contains(t, now.Of(p11.ClassCertificate), last.Object)
	require.NoError(t, token.Destroy(t.Context(), last.Object, written.Object))
	list(now, 70, 0, 1)
	data, err = token.ReadData(t.Context(), full.Of(p11.ClassData))
	require.NoError(t, err)
	require.Empty(t, data, "it has gone meanwhile")
	_, err = token.ReadData(t.Context(), []p11.Object{{}})
	require.ErrorIs(t, err, p11.ErrStale)
}
