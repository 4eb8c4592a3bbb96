// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestCleanSparesOthers leaves everything that does not carry a mark of this
// package, or that something needs.
func TestCleanSparesOthers(t *testing.T) {
	t.Parallel()
	s := open(t)
	identity(t, s, "terminal_pub", "terminal")
	write(t, s, "somebody's CA", []byte("ca"), testpki.NewRoot("somebody's CA").Certificate)
	halve := func(label string, id []byte) {
		key, err := s.device.GenerateKey(t.Context(), p11.KeyTemplate{Label: label, ID: id, Type: p11.P256})
		require.NoError(t, err)
		require.NoError(t, s.device.Destroy(t.Context(), key.Object))
	}
	halve("another tool's", []byte("another tool's id 20"))
	halve("ours", newID())
	certified := newID()
	halve("certified", certified)
	write(t, s, "lost", certified, authority().Issue(testpki.ClientTemplate("lost"), newP256(t).Public()))
	before := contents(t, s.device)

	found, err := s.Leftovers(t.Context())
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, LeftoverPublicKey, found[0].Kind)
	require.Equal(t, "ours", found[0].Label)
	removed, err := s.Clean(t.Context())
	require.NoError(t, err)
	require.Equal(t, found, removed)
	require.Equal(t, before, contents(t, s.device))
	public, err := s.device.PublicKeys(t.Context(), p11.Filter{})
	require.NoError(t, err)
	require.Len(t, public, 3)
	removed, err = s.Clean(t.Context())
	require.NoError(t, err)
	require.Empty(t, removed)
}

// TestGenerateClearsHalves makes a key under an alias of which a public half is
// left, so that other tools find one public key under it.
func TestGenerateClearsHalves(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, err := s.device.GenerateKey(t.Context(), p11.KeyTemplate{Label: "terminal", ID: newID(), Type: p11.P256})
	require.NoError(t, err)
	require.NoError(t, s.device.Destroy(t.Context(), key.Object))
	made := generate(t, s, "terminal")
	public, err := s.device.PublicKeys(t.Context(), p11.Filter{Label: "terminal"})
	require.NoError(t, err)
	require.Len(t, public, 1)
	require.Equal(t, made.Info().ID, public[0].ID)
}

func TestCleanFails(t *testing.T) {
	t.Parallel()
	_, err := New(nil).Clean(t.Context())
	require.ErrorIs(t, err, p11.ErrClosed)
	_, err = New(nil).Leftovers(t.Context())
	require.ErrorIs(t, err, p11.ErrClosed)
	require.Equal(t, "unused issuer", LeftoverIssuer.String())
	require.Equal(t, "LeftoverKind(0)", LeftoverKind(0).String())
}
