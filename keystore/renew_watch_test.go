// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	s := open(t)
	var seen []string
	stop := s.Watch(func() {
		id, err := s.Identity(t.Context(), "terminal_pub")
		if err != nil {
			seen = append(seen, "nothing")
			return
		}
		seen = append(seen, id.Chain[0].Subject.CommonName)
	})
	key, _ := identity(t, s, "terminal_pub", "terminal")
	require.NoError(t, s.Replace(t.Context(), "terminal_pub", issue(authority(), "second", key.Public())))
	require.NoError(t, newStore(s.device).Replace(t.Context(), "terminal_pub", issue(authority(), "third", key.Public())))
	require.Equal(t, []string{"terminal_pub", "second"}, seen, "another Store's write is not seen")
	require.NoError(t, s.Refresh(t.Context()))
	require.NoError(t, s.DeleteCertificate(t.Context(), "terminal_pub"))
	stop()
	require.NoError(t, s.Refresh(t.Context()))
	require.Equal(t, []string{"terminal_pub", "second", "third", "nothing"}, seen)
}
