// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"testing"

	"github.com/stretchr/testify/require"

	names "github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestDeleteKey(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, _ := identity(t, s, "terminal_pub", "terminal")
	require.NoError(t, s.Inject(t.Context(), "second", "terminal", issue(authority(), "second", key.Public())))
	generate(t, s, "bystander")

	require.ErrorIs(t, s.DeleteKey(t.Context(), "terminal"), ErrInUse)
	require.NoError(t, s.DeleteCertificate(t.Context(), "second"))
	require.ErrorIs(t, s.DeleteKey(t.Context(), "terminal"), ErrInUse)
	require.NoError(t, s.DeleteCertificate(t.Context(), "terminal_pub"))
	require.NoError(t, s.DeleteKey(t.Context(), "terminal"))
	require.ErrorIs(t, s.DeleteKey(t.Context(), "terminal"), ErrNotFound)
	_, err := key.SignMessage(nil, []byte("message"), key.schemes[0].opts())
	require.Error(t, err)

	left, err := s.Keys(t.Context())
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "bystander", left[0].Alias)
	generate(t, s, "terminal") // the alias is free again
}

func TestDeleteKeyRefuses(t *testing.T) {
	t.Parallel()
	device := open(t).device
	_, err := device.GenerateKey(t.Context(), p11.KeyTemplate{Label: "twice", ID: newID(), Type: p11.P256})
	require.NoError(t, err)
	_, err = device.GenerateKey(t.Context(), p11.KeyTemplate{Label: "twice", ID: newID(), Type: p11.P256})
	require.NoError(t, err)
	shared := newID()
	for _, label := range []string{"a", "b"} {
		_, err = device.GenerateKey(t.Context(), p11.KeyTemplate{Label: label, ID: shared, Type: p11.P256})
		if label == "a" {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, p11.ErrKeyAmbiguous) // and the key is there
		}
	}
	s := newStore(device)
	require.ErrorIs(t, s.DeleteKey(t.Context(), "twice"), ErrAmbiguous)
	require.ErrorIs(t, s.DeleteKey(t.Context(), "a"), ErrAmbiguous)
	require.ErrorIs(t, s.DeleteKey(t.Context(), ""), names.ErrEmpty)
	left, err := s.Keys(t.Context())
	require.NoError(t, err)
	require.Len(t, left, 4)
	for _, info := range left {
		require.ErrorIs(t, info.Problem, ErrAmbiguous)
	}
}

// TestDeleteKeyWithoutID makes sure that an empty CKA_ID does not match
// everything.
func TestDeleteKeyWithoutID(t *testing.T) {
	t.Parallel()
	s := open(t)
	generate(t, s, "bystander")
	generate(t, s, "bare")
	odd := newStore(&oddToken{Token: s.device, keys: func(keys []p11.Key) {
		for i := range keys {
			if keys[i].Label == "bare" {
				keys[i].ID, keys[i].Public = nil, nil
			}
		}
	}})
	require.NoError(t, odd.DeleteKey(t.Context(), "bare"))
	_, err := s.Key(t.Context(), "bystander")
	require.NoError(t, err)
}

func TestDeleteCertificate(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, _ := identity(t, s, "one", "terminal")
	require.NoError(t, s.Inject(t.Context(), "two", "terminal", issue(authority(), "two", key.Public())))
	above := testpki.NewRoot("other root").NewIntermediate("upper").NewIntermediate("lower")
	require.NoError(t, s.Inject(t.Context(), "three", "terminal", issue(above, "three", key.Public())))
	trusted := authority().Server("host.test").Leaf
	write(t, s, "acquirer-host", names.TrustID(trusted.Raw), trusted)
	require.Len(t, contents(t, s.device), 3+1+2+1)

	require.NoError(t, s.DeleteCertificate(t.Context(), "three"))
	require.Len(t, contents(t, s.device), 2+1+1)
	require.NoError(t, s.DeleteCertificate(t.Context(), "one"))
	require.Len(t, contents(t, s.device), 1+1+1, "the issuer is still needed")
	_, err := s.Identity(t.Context(), "one")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.Identity(t.Context(), "two")
	require.NoError(t, err)
	require.NoError(t, s.DeleteCertificate(t.Context(), "two"))
	require.Len(t, contents(t, s.device), 1, "a trusted entry needs no issuer here")

	require.ErrorIs(t, s.DeleteCertificate(t.Context(), "two"), ErrNotFound)
	require.ErrorIs(t, s.DeleteCertificate(t.Context(), "acquirer-host"), ErrNotFound)
	_, err = s.Key(t.Context(), "terminal")
	require.NoError(t, err, "the key stays")
}

func TestDeleteCertificateRefusesAmbiguity(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, _ := identity(t, s, "terminal_pub", "terminal")
	write(t, s, "terminal_pub", key.Info().ID, issue(authority(), "x", key.Public())[0])
	before := contents(t, s.device)
	require.ErrorIs(t, s.DeleteCertificate(t.Context(), "terminal_pub"), ErrAmbiguous)
	require.Equal(t, before, contents(t, s.device))
}
