// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestClean removes issuers that prove nothing, and nothing else.
func TestClean(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	needed, idle := a.root.NewIntermediate("needed"), a.root.NewIntermediate("idle")
	_, err := s.Inject(t.Context(), "host", needed.Server("host.example.com").Leaf, needed.Certificate)
	require.NoError(t, err)
	f.plant(t, "foreign", []byte("x"), testpki.NewRoot("foreign").Certificate)
	before := f.labels(t)
	label := alias.TrustIssuerLabel(idle.Certificate.Raw)
	f.plantEntry(t, label, idle.Certificate)

	found, err := s.Leftovers(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, label, found[0].Label)
	require.True(t, found[0].Certificate.Equal(idle.Certificate))
	f.cling = true
	_, err = s.Clean(t.Context())
	require.ErrorIs(t, err, ErrNotStored)
	f.cling = false
	removed, err := s.Clean(t.Context())
	require.NoError(t, err)
	require.Len(t, removed, 1)
	require.ElementsMatch(t, before, f.labels(t))
	removed, err = s.Clean(t.Context())
	require.NoError(t, err)
	require.Empty(t, removed)
	require.Len(t, s.Entries(), 1)

	var zero Store
	_, err = zero.Clean(t.Context())
	require.ErrorIs(t, err, p11.ErrClosed)
}
