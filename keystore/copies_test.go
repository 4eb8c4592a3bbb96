// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"testing"

	"github.com/stretchr/testify/require"
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
