// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCopiesOfNotesAreOne has two processes die in the same replacement, in each place
// of the old certificate, the new one and the note.
func TestCopiesOfNotesAreOne(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, _ := identity(t, s, "terminal_pub", "terminal")
	renewed := issue(authority(), "terminal_pub", key.Public())
	for range 2 {
		write(t, s, noteLabel+"terminal_pub", noteID("terminal_pub"), renewed[0])
		write(t, s, "terminal_pub", key.Info().ID, renewed[0])
	}
	s = newStore(s.device)
	isRenewed := func() {
		id, err := s.Identity(t.Context(), "terminal_pub")
		require.NoError(t, err)
		require.Equal(t, renewed, id.Chain)
	}
	isRenewed()
	removed, err := s.Clean(t.Context())
	require.NoError(t, err)
	kinds := map[LeftoverKind]int{}
	for _, l := range removed {
		kinds[l.Kind]++
	}
	require.Equal(t, map[LeftoverKind]int{LeftoverCertificate: 2, LeftoverNote: 2}, kinds)
	isRenewed()
	require.Len(t, contents(t, s.device), 2)
}

// TestRenewedButNotRead says that the new certificate counts, if it cannot be read.
func TestRenewedButNotRead(t *testing.T) {
	t.Parallel()
	s := open(t)
	identity(t, s, "terminal_pub", "terminal")
	removed := 0 // the old certificate, and the note
	broken := newStore(&oddToken{Token: s.device, gate: func(op string) error {
		switch {
		case op == "Destroy":
			removed++
		case op == "Keys" && removed == 2:
			return errBroken
		}
		return nil
	}})
	der, err := broken.RequestRenewal(t.Context(), "terminal_pub", Renewal{})
	require.NoError(t, err)
	renewed, err := answering(authority(), later("terminal_pub"))(t.Context(), der)
	require.NoError(t, err)
	_, err = broken.AcceptRenewal(t.Context(), "terminal_pub", Renewal{}, renewed)
	require.ErrorIs(t, err, errBroken)
	require.ErrorContains(t, err, "counts")
	id, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, renewed, id.Chain, "it does")
}
