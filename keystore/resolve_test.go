// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	names "github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestResolutionRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		plant func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate)
		odd   func(keys []p11.Key)
		want  error
	}{
		{
			name: "two certificates",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) {
				write(t, s, "x", key.Info().ID, leaf)
				write(t, s, "x", key.Info().ID, issue(authority(), "y", key.Public())[0])
			},
			want: ErrAmbiguous,
		},
		{
			name: "a certificate of another key beside it",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) {
				write(t, s, "x", key.Info().ID, leaf)
				write(t, s, "x", newID(), authority().Client("z").Leaf)
			},
			want: ErrAmbiguous,
		},
		{
			name:  "certificate without CKA_ID",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) { write(t, s, "x", nil, leaf) },
			want:  ErrMismatch,
		},
		{
			name:  "certificate with a CKA_ID that leads nowhere",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) { write(t, s, "x", newID(), leaf) },
			want:  ErrMismatch,
		},
		{
			name: "certificate of another key",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) {
				write(t, s, "x", key.Info().ID, authority().Client("x").Leaf)
			},
			want: ErrMismatch,
		},
		{
			name: "certificate of a key of another type",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) {
				rsa, err := rsa.GenerateKey(rand.Reader, 2048)
				require.NoError(t, err)
				write(t, s, "x", key.Info().ID, authority().Issue(testpki.ClientTemplate("x"), rsa.Public()))
			},
			want: ErrMismatch,
		},
		{
			name: "certificate of another key, public half missing",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) {
				write(t, s, "x", key.Info().ID, authority().Client("x").Leaf)
			},
			odd:  func(keys []p11.Key) { keys[0].Public = nil },
			want: ErrMismatch,
		},
		{
			name: "weak certificate",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) {
				write(t, s, "x", key.Info().ID, authority().Issue(testpki.ClientTemplate("x"), weakRSA(t).Public()))
			},
			want: ErrWeak,
		},
		{
			name:  "extractable key",
			plant: plantGood,
			odd:   func(keys []p11.Key) { keys[0].Extractable = true },
			want:  ErrExtractable,
		},
		{
			name:  "key that was extractable",
			plant: plantGood,
			odd:   func(keys []p11.Key) { keys[0].NeverExtractable = false },
			want:  ErrExtractable,
		},
		{
			name:  "key from outside",
			plant: plantGood,
			odd:   func(keys []p11.Key) { keys[0].Local = false },
			want:  ErrExtractable,
		},
		{
			name:  "key that does not sign",
			plant: plantGood,
			odd:   func(keys []p11.Key) { keys[0].Sign = false },
			want:  ErrUnsupported,
		},
		{
			name: "only a trusted entry",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) {
				write(t, s, "x", names.TrustID(leaf.Raw), leaf)
			},
			want: ErrNotFound,
		},
		{
			name: "only an issuer",
			plant: func(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) {
				write(t, s, "x", names.IssuerID(leaf.Raw), leaf)
			},
			want: ErrNotFound,
		},
		{
			name:  "nothing",
			plant: func(*testing.T, *Store, *Key, *x509.Certificate) {},
			want:  ErrNotFound,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			key := generate(t, s, "key")
			test.plant(t, s, key, issue(authority(), "x", key.Public())[0])
			odd := newStore(&oddToken{Token: s.device, keys: func(keys []p11.Key) {
				if test.odd != nil {
					test.odd(keys)
				}
			}})
			_, err := odd.Certificate(t.Context(), "x")
			require.ErrorIs(t, err, test.want)
			var typed *Error
			require.ErrorAs(t, err, &typed)
			require.Equal(t, "x", typed.Alias)
			requireListed(t, odd, test.want)
			require.Zero(t, s.device.Status().Outages, "what somebody has put there is no outage")
		})
	}
}

func plantGood(t *testing.T, s *Store, key *Key, leaf *x509.Certificate) {
	t.Helper()
	write(t, s, "x", key.Info().ID, leaf)
}

// requireListed checks that Identities agrees with Identity as far as it looks.
func requireListed(t *testing.T, s *Store, want error) {
	t.Helper()
	infos, err := s.Identities(t.Context())
	require.NoError(t, err)
	for _, info := range infos {
		if info.Alias == "x" && want != ErrMismatch {
			require.ErrorIs(t, info.Problem, want)
		}
	}
}

// TestResolutionIgnoresOtherObjects puts objects under the alias that are
// never meant by it.
func TestResolutionIgnoresOtherObjects(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, chain := identity(t, s, "terminal_pub", "terminal")
	write(t, s, "terminal_pub", names.TrustID(chain[1].Raw), chain[1])
	write(t, s, "terminal_pub", names.IssuerID(chain[1].Raw), chain[1])
	id, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, chain, id.Chain)
}

func TestKeyRefuses(t *testing.T) {
	t.Parallel()
	s := open(t)
	generate(t, s, "key")
	tests := []struct {
		name string
		odd  func(*p11.Key)
		want error
	}{
		{"no CKA_ID", func(k *p11.Key) { k.ID, k.Public = nil, nil }, ErrMismatch},
		{"no public half", func(k *p11.Key) { k.Public = nil }, ErrMismatch},
		{"another public half", func(k *p11.Key) { k.Public = newP256(t).Public() }, ErrMismatch},
		{"weak", func(k *p11.Key) { k.Public = weakRSA(t).Public() }, ErrWeak},
		{"CKA_ID of nothing", func(k *p11.Key) { k.ID = newID() }, ErrNotFound},
		{"extractable", func(k *p11.Key) { k.Extractable = true }, ErrExtractable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			odd := newStore(&oddToken{Token: s.device, keys: func(keys []p11.Key) { test.odd(&keys[0]) }})
			_, err := odd.Key(t.Context(), "key")
			require.ErrorIs(t, err, test.want)
		})
	}
	_, err := s.Key(t.Context(), "nobody")
	require.ErrorIs(t, err, ErrNotFound)
}

func TestKeyWithoutPublicHalfTakesTheCertificate(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, _ := identity(t, s, "terminal_pub", "terminal")
	odd := newStore(&oddToken{Token: s.device, keys: func(keys []p11.Key) { keys[0].Public = nil }})
	got, err := odd.Key(t.Context(), "terminal")
	require.NoError(t, err)
	require.True(t, samePublic(key.Public(), got.Public()))
	requireSigns(t, got)
}

func TestKeyAmbiguous(t *testing.T) {
	t.Parallel()
	s := open(t)
	for range 2 {
		_, err := s.device.GenerateKey(t.Context(), p11.KeyTemplate{Label: "twice", ID: newID(), Type: p11.P256})
		require.NoError(t, err)
	}
	_, err := s.Key(t.Context(), "twice")
	require.ErrorIs(t, err, ErrAmbiguous)
	_, err = s.CSR(t.Context(), "twice", Request{DNSNames: []string{"x.test"}})
	require.ErrorIs(t, err, ErrAmbiguous)
	_, err = s.Generate(t.Context(), "twice", P256)
	require.ErrorIs(t, err, ErrExists)
}

// TestProofIsMadeOnce counts what the token is asked.
func TestProofIsMadeOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := generate(t, s, "terminal")
	require.Len(t, s.proofs.done, 1)
	_, err := s.Key(t.Context(), "terminal")
	require.NoError(t, err)
	require.NoError(t, s.Inject(t.Context(), "a", "terminal", issue(authority(), "a", key.Public())))
	_, err = s.Identity(t.Context(), "a")
	require.NoError(t, err)
	require.Len(t, s.proofs.done, 1)
}

func TestClosed(t *testing.T) {
	t.Parallel()
	tok, err := hsm.Open(t.Context(), hsmtest.Config(t))
	require.NoError(t, err)
	s := New(tok)
	key, chain := identity(t, s, "terminal_pub", "terminal")
	require.NoError(t, tok.Close())

	_, err = s.Key(t.Context(), "terminal")
	require.ErrorIs(t, err, hsm.ErrClosed)
	_, err = key.SignMessage(nil, nil, key.schemes[0].opts())
	require.ErrorIs(t, err, hsm.ErrClosed)
	for name, s := range map[string]*Store{"closed": s, "zero": {}, "nil token": New(nil)} {
		_, err := s.Keys(t.Context())
		require.ErrorIs(t, err, hsm.ErrClosed, name)
		_, err = s.Identities(t.Context())
		require.ErrorIs(t, err, hsm.ErrClosed, name)
		_, err = s.Generate(t.Context(), "x", P256)
		require.ErrorIs(t, err, hsm.ErrClosed, name)
		_, err = s.CSR(t.Context(), "x", Request{DNSNames: []string{"x.test"}})
		require.ErrorIs(t, err, hsm.ErrClosed, name)
		_, err = s.Certificate(t.Context(), "x")
		require.ErrorIs(t, err, hsm.ErrClosed, name)
		require.ErrorIs(t, s.Inject(t.Context(), "x", "x", chain), hsm.ErrClosed, name)
		require.ErrorIs(t, s.Replace(t.Context(), "x", chain), hsm.ErrClosed, name)
		require.ErrorIs(t, s.DeleteKey(t.Context(), "x"), hsm.ErrClosed, name)
		require.ErrorIs(t, s.DeleteCertificate(t.Context(), "x"), hsm.ErrClosed, name)
	}
}

func TestContextHasEnded(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, chain := identity(t, s, "terminal_pub", "terminal")
	before := contents(t, s.device)
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	require.ErrorIs(t, s.Replace(ctx, "terminal_pub", chain), context.DeadlineExceeded)
	require.ErrorIs(t, s.DeleteCertificate(ctx, "terminal_pub"), context.DeadlineExceeded)
	_, err := s.Certificate(ctx, "terminal_pub")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, before, contents(t, s.device))
}

// A garbledToken cuts the last byte off every certificate.
type garbledToken struct{ p11.Token }

func (g garbledToken) Certificates(ctx context.Context, f p11.Filter) ([]p11.Certificate, error) {
	found, err := g.Token.Certificates(ctx, f)
	for i, c := range found {
		found[i].Value = c.Value[:len(c.Value)-1]
	}
	return found, err
}

func TestUnreadableCertificate(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, chain := identity(t, s, "terminal_pub", "terminal")
	garbled := newStore(garbledToken{s.device})
	var unreadable *ChainError
	_, err := garbled.Identity(t.Context(), "terminal_pub")
	require.ErrorAs(t, err, &unreadable)
	require.Nil(t, unreadable.Certificate)
	require.ErrorAs(t, garbled.Replace(t.Context(), "terminal_pub", chain), &unreadable)
	require.ErrorIs(t, garbled.Inject(t.Context(), "terminal_pub", "terminal", chain), ErrExists)
	require.ErrorIs(t, garbled.Inject(t.Context(), "second", "terminal", issue(authority(), "x", key.Public())), ErrNotStored)

	infos, err := garbled.Identities(t.Context())
	require.NoError(t, err)
	require.Len(t, infos, 1)
	require.Empty(t, infos[0].Chain)
	require.ErrorAs(t, infos[0].Problem, &unreadable)
	require.NoError(t, garbled.DeleteCertificate(t.Context(), "terminal_pub"), "it can be removed all the same")
}
