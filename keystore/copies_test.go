// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// Two processes that write the same certificate at once leave two copies. They are
// one identity, and Clean, Replace and DeleteCertificate leave none too many.
func TestCopiesAreOne(t *testing.T) {
	t.Parallel()
	for name, mend := range map[string]func(t *testing.T, s *Store){
		"clean": func(t *testing.T, s *Store) {
			_, err := s.Clean(t.Context())
			require.NoError(t, err)
		},
		"replace": func(t *testing.T, s *Store) {
			id, err := s.Identity(t.Context(), "terminal_pub")
			require.NoError(t, err)
			require.NoError(t, s.Replace(t.Context(), "terminal_pub", id.Chain))
		},
		"delete": func(t *testing.T, s *Store) {
			require.NoError(t, s.DeleteCertificate(t.Context(), "terminal_pub"))
			_, err := s.Identity(t.Context(), "terminal_pub")
			require.ErrorIs(t, err, ErrNotFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			key, chain := identity(t, s, "terminal_pub", "terminal")
			before := len(contents(t, s.device))
			write(t, s, "terminal_pub", key.Info().ID, chain[0])
			_, err := s.Identity(t.Context(), "terminal_pub")
			require.NoError(t, err)
			infos, err := s.Identities(t.Context())
			require.NoError(t, err)
			require.Len(t, infos, 1)
			mend(t, s)
			require.LessOrEqual(t, len(contents(t, s.device)), before)
		})
	}
}

// TestCopyGoneAlready has another process remove a copy first, and this one die at
// the next write: what it wanted to remove is not there, and it takes no other for it.
func TestCopyGoneAlready(t *testing.T) {
	t.Parallel()
	for name, mend := range map[string]func(s *Store, chain []*x509.Certificate) error{
		"clean":   func(s *Store, _ []*x509.Certificate) error { _, err := s.Clean(t.Context()); return err },
		"replace": func(s *Store, chain []*x509.Certificate) error { return s.Replace(t.Context(), "terminal_pub", chain) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			key, chain := identity(t, s, "terminal_pub", "terminal")
			write(t, s, "terminal_pub", key.Info().ID, chain[0])
			raced := false
			late := newStore(&oddToken{Token: s.device, gate: func(op string) error {
				if op == "Destroy" && !raced {
					raced = true
					return newStore(s.device).Replace(t.Context(), "terminal_pub", chain)
				}
				if op == "CreateCertificate" {
					return errBroken
				}
				return nil
			}})
			require.NoError(t, mend(late, chain))
			require.True(t, raced)
			_, err := s.Identity(t.Context(), "terminal_pub")
			require.NoError(t, err)
			require.Len(t, contents(t, s.device), 2)
		})
	}
}

// TestCopiesOfOtherTools are one identity too, where its key has an id of another
// tool, and can be injected again.
func TestCopiesOfOtherTools(t *testing.T) {
	t.Parallel()
	s := open(t)
	for i, alias := range []string{"one", "other"} {
		made, err := s.device.GenerateKey(t.Context(), p11.KeyTemplate{Label: "Private Key", ID: []byte{byte(i)}, Type: p11.P256})
		require.NoError(t, err)
		cert := issue(authority(), alias, made.Public)[0]
		write(t, s, alias, made.ID, cert)
		write(t, s, alias, made.ID, cert)
		_, err = s.Identity(t.Context(), alias)
		require.NoError(t, err)
	}
	infos, err := s.Identities(t.Context())
	require.NoError(t, err)
	require.Len(t, infos, 2)
	for _, info := range infos {
		require.NoError(t, info.Problem, "two keys with one label are no problem for who finds them by id")
	}
	keys, err := s.Keys(t.Context())
	require.NoError(t, err)
	for _, k := range keys {
		require.ErrorIs(t, k.Problem, ErrAmbiguous, "and one for who asks for the label")
	}
	keys, err = newStore(&oddToken{Token: s.device, keys: func(all []p11.Key) {
		for i := range all {
			all[i].Label = ""
		}
	}}).Keys(t.Context())
	require.NoError(t, err)
	for _, k := range keys {
		require.NoError(t, k.Problem, "nobody can ask for no label")
	}
}

// TestInjectCopies injects what is there twice already.
func TestInjectCopies(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, chain := identity(t, s, "terminal_pub", "terminal")
	write(t, s, "terminal_pub", key.Info().ID, chain[0])
	before := contents(t, s.device)
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain))
	require.Equal(t, before, contents(t, s.device))
	require.ErrorIs(t, s.Inject(t.Context(), "terminal_pub", "terminal", issue(authority(), "x", key.Public())), ErrExists)
}
