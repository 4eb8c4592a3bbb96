// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestReplace(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, old := identity(t, s, "terminal_pub", "terminal")
	id, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, old, id.Chain)

	sameCA := issue(authority(), "renewed", key.Public())
	require.NoError(t, s.Replace(t.Context(), "terminal_pub", sameCA))
	id, err = s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, sameCA, id.Chain)
	require.Len(t, contents(t, s.device), 2)

	otherCA := issue(testpki.NewRoot("other root").NewIntermediate("other issuing"), "moved", key.Public())
	require.NoError(t, s.Replace(t.Context(), "terminal_pub", otherCA))
	id, err = s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, otherCA, id.Chain)
	require.Len(t, contents(t, s.device), 2, "without the issuer that is not needed any more")

	before := contents(t, s.device)
	require.NoError(t, s.Replace(t.Context(), "terminal_pub", otherCA))
	require.Equal(t, before, contents(t, s.device))
	id, err = s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, otherCA, id.Chain)

	require.NoError(t, s.Replace(t.Context(), "terminal_pub", old), "an older certificate may come back")
	id, err = s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, old, id.Chain)
}

// TestReplaceAddsIssuers completes a chain without touching the leaf.
func TestReplaceAddsIssuers(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := generate(t, s, "terminal")
	chain := issue(authority(), "terminal", key.Public())
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain[:1]))
	require.ErrorIs(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain), ErrExists)
	require.NoError(t, s.Replace(t.Context(), "terminal_pub", chain))
	id, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, chain, id.Chain)
}

func TestReplaceRefuses(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, chain := identity(t, s, "terminal_pub", "terminal")
	before := contents(t, s.device)
	expired := testpki.ClientTemplate("x")
	expired.NotAfter = time.Now().Add(-time.Minute)

	require.ErrorIs(t, s.Replace(t.Context(), "nobody", chain), ErrNotFound)
	require.ErrorIs(t, s.Replace(t.Context(), "terminal_pub", issue(authority(), "x", newP256(t).Public())), ErrMismatch)
	require.ErrorIs(t, s.Replace(t.Context(), "terminal_pub", nil), ErrChain)
	var invalid x509.CertificateInvalidError
	require.ErrorAs(t, s.Replace(t.Context(), "terminal_pub", []*x509.Certificate{authority().Issue(expired, key.Public())}), &invalid)
	require.Equal(t, before, contents(t, s.device))
}

// TestReplaceIsSeenWhole looks, from another store, before and after every call
// that Replace makes. The reader gets the old identity, then the new one.
func TestReplaceIsSeenWhole(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, old := identity(t, s, "terminal_pub", "terminal")
	renewed := issue(testpki.NewRoot("other root").NewIntermediate("other issuing"), "renewed", key.Public())
	var seen []string
	look := func(string) error {
		reader := newStore(s.device)
		reader.proofs.done = s.proofs.done
		id, err := reader.Identity(t.Context(), "terminal_pub")
		require.NoError(t, err)
		switch {
		case id.Chain[0].Equal(old[0]):
			require.Equal(t, old, id.Chain)
		default:
			require.Equal(t, renewed, id.Chain)
		}
		if name := id.Chain[0].Subject.CommonName; len(seen) == 0 || seen[len(seen)-1] != name {
			seen = append(seen, name)
		}
		return nil
	}
	odd := &oddToken{Token: s.device, gate: look, afterwards: look}
	require.NoError(t, newStore(odd).Replace(t.Context(), "terminal_pub", renewed))
	require.Equal(t, []string{"terminal_pub", "renewed"}, seen)
}

// TestReplaceOldOrNew breaks the token at every call.
func TestReplaceOldOrNew(t *testing.T) {
	t.Parallel()
	other := testpki.NewRoot("other root").NewIntermediate("other issuing")
	eachCall(t, allFailures, func(t *testing.T, s *Store, key *Key, broken *Store) error {
		old, renewed := issue(authority(), "old", key.Public()), issue(other, "renewed", key.Public())
		require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", old))
		err := broken.Replace(t.Context(), "terminal_pub", renewed)

		id, found := newStore(s.device).Identity(t.Context(), "terminal_pub")
		require.NoError(t, found, "never a moment without either")
		if id.Chain[0].Equal(old[0]) {
			require.Equal(t, old, id.Chain)
			require.ErrorIs(t, err, errBroken)
		} else {
			require.Equal(t, renewed, id.Chain)
		}
		require.NoError(t, s.Replace(t.Context(), "terminal_pub", renewed))
		id, found = s.Identity(t.Context(), "terminal_pub")
		require.NoError(t, found)
		require.Equal(t, renewed, id.Chain)
		require.Len(t, contents(t, s.device), 2, "nothing superfluous stays")
		require.NoError(t, s.DeleteCertificate(t.Context(), "terminal_pub"))
		return err
	})
}

// TestDeleteAfterInterruptedReplace removes what both left.
func TestDeleteAfterInterruptedReplace(t *testing.T) {
	t.Parallel()
	other := testpki.NewRoot("other root").NewIntermediate("other issuing")
	eachCall(t, allFailures[3:], func(t *testing.T, s *Store, key *Key, broken *Store) error {
		require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", issue(authority(), "old", key.Public())))
		err := broken.Replace(t.Context(), "terminal_pub", issue(other, "renewed", key.Public()))
		require.NoError(t, s.DeleteCertificate(t.Context(), "terminal_pub"))
		return err
	})
}

// TestNoteSettlesNothingElse plants a note for two certificates of two keys.
func TestNoteSettlesNothingElse(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, chain := identity(t, s, "terminal_pub", "terminal")
	other := generate(t, s, "other")
	planted := issue(authority(), "planted", other.Public())[0]
	write(t, s, "terminal_pub", other.Info().ID, planted)
	for _, cert := range []*x509.Certificate{planted, chain[0]} {
		write(t, s, noteLabel+"terminal_pub", noteID("terminal_pub"), cert)
		_, err := newStore(s.device).Identity(t.Context(), "terminal_pub")
		require.ErrorIs(t, err, ErrAmbiguous)
	}
}
