// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

func TestGenerate(t *testing.T) {
	t.Parallel()
	for _, typ := range []KeyType{RSA2048, RSA3072, P256, P384} { // RSA-4096 differs in patience only
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			s := open(t)
			k, err := s.Generate(t.Context(), "terminal", typ)
			require.NoError(t, err)

			info := k.Info()
			require.Equal(t, "terminal", info.Alias)
			require.Len(t, info.ID, idLen)
			require.Equal(t, typ, info.Type)
			require.Equal(t, typ, typeOf(k.Public()))
			require.Equal(t, Attributes{
				Sensitive: true, AlwaysSensitive: true, NeverExtractable: true, Local: true, Private: true, Sign: true,
			}, info.Attributes)

			again, err := s.Key(t.Context(), "terminal")
			require.NoError(t, err)
			require.Equal(t, info, again.Info())

			infos, err := s.Keys(t.Context())
			require.NoError(t, err)
			require.Equal(t, []KeyInfo{info}, infos)
		})
	}
}

func TestGenerateRefuses(t *testing.T) {
	t.Parallel()
	s := open(t)
	generate(t, s, "taken")
	tests := []struct {
		name  string
		alias string
		typ   KeyType
		want  error
	}{
		{"taken alias", "taken", P256, ErrExists},
		{"no type", "free", 0, nil},
		{"unknown type", "free", 99, nil},
		{"no alias", "", P256, nil},
		{"reserved alias", "issuer x", P256, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := s.Generate(t.Context(), test.alias, test.typ)
			var typed *Error
			require.ErrorAs(t, err, &typed)
			require.Equal(t, test.alias, typed.Alias)
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
			}
		})
	}
}

func TestGenerateDestroysWhatIsNotAsAsked(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*p11.Key){
		"extractable":         func(k *p11.Key) { k.Extractable = true },
		"once extractable":    func(k *p11.Key) { k.NeverExtractable = false },
		"not sensitive":       func(k *p11.Key) { k.Sensitive = false },
		"once not sensitive":  func(k *p11.Key) { k.AlwaysSensitive = false },
		"not made inside":     func(k *p11.Key) { k.Local = false },
		"public":              func(k *p11.Key) { k.Private = false },
		"does not sign":       func(k *p11.Key) { k.Sign = false },
		"decrypts":            func(k *p11.Key) { k.Decrypt = true },
		"unwraps":             func(k *p11.Key) { k.Unwrap = true },
		"derives":             func(k *p11.Key) { k.Derive = true },
		"signs with recovery": func(k *p11.Key) { k.SignRecover = true },
	}
	device := open(t).device
	for name, change := range tests {
		t.Run(name, func(t *testing.T) { // one after the other: SoftHSM trips over writers on one token
			s := newStore(&oddToken{Token: device, made: change})
			_, err := s.Generate(t.Context(), name, P256)
			require.ErrorIs(t, err, ErrAttributes)
			left, err := device.Keys(t.Context(), p11.Filter{Label: name})
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestGenerateDestroysWhatCannotBeOpened(t *testing.T) {
	t.Parallel()
	device := open(t).device
	broken := &hsm.Error{Op: "C_FindObjects", Code: 0x30}
	odd := &oddToken{Token: device, gate: func(op string) error {
		if op == "Signer" {
			return broken
		}
		return nil
	}}
	_, err := newStore(odd).Generate(t.Context(), "terminal", P256)
	require.ErrorIs(t, err, broken)
	left, err := device.Keys(t.Context(), p11.Filter{})
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestGenerateDestroysWhatTheTokenDidNotAdmitTo(t *testing.T) {
	t.Parallel()
	device := open(t).device
	broken := errors.New("no answer")
	odd := &oddToken{Token: device, afterwards: func(op string) error {
		if op == "GenerateKey" {
			return broken
		}
		return nil
	}}
	_, err := newStore(odd).Generate(t.Context(), "terminal", P256)
	require.ErrorIs(t, err, broken)
	left, err := device.Keys(t.Context(), p11.Filter{})
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestGenerateUnsupported(t *testing.T) {
	t.Parallel()
	s := newStore(&oddToken{Token: open(t).device, mechanisms: p11.Mechanisms{p11.ECKeyPairGen, p11.ECDSA}})
	_, err := s.Generate(t.Context(), "terminal", RSA2048)
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorIs(t, err, hsm.ErrUnsupported)
}

func TestGenerateAtTheSameMoment(t *testing.T) {
	t.Parallel()
	device := open(t).device
	other := newStore(device)
	odd := &oddToken{Token: device, gate: func(op string) error {
		if op == "GenerateKey" { // after the look for the alias
			generate(t, other, "terminal")
		}
		return nil
	}}
	_, err := newStore(odd).Generate(t.Context(), "terminal", P256)
	require.ErrorIs(t, err, ErrExists)
	_, err = other.Key(t.Context(), "terminal")
	require.NoError(t, err)
}

func TestImportInsecure(t *testing.T) {
	t.Parallel()
	device := open(t).device
	strict, lax := newStore(device), newStore(device)
	lax.AllowInsecureKeys = true
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)

	for name, key := range map[string]crypto.Signer{"ec": p384, "rsa": rsa2048} {
		_, err := strict.ImportInsecure(t.Context(), name, key)
		require.ErrorIs(t, err, ErrExtractable)
		_, err = strict.Key(t.Context(), name)
		require.ErrorIs(t, err, ErrNotFound)

		k, err := lax.ImportInsecure(t.Context(), name, key)
		require.NoError(t, err)
		require.True(t, samePublic(key.Public(), k.Public()))
		require.False(t, k.Info().Attributes.Local)
		requireSigns(t, k)

		_, err = lax.ImportInsecure(t.Context(), name, key)
		require.ErrorIs(t, err, ErrExists)
		_, err = strict.Key(t.Context(), name)
		require.ErrorIs(t, err, ErrExtractable)
		require.NoError(t, lax.Inject(t.Context(), name+"_pub", name, issue(authority(), name, key.Public())))
		_, err = lax.Identity(t.Context(), name+"_pub")
		require.NoError(t, err)
		_, err = strict.Identity(t.Context(), name+"_pub")
		require.ErrorIs(t, err, ErrExtractable)
	}
	infos, err := strict.Keys(t.Context())
	require.NoError(t, err)
	require.Len(t, infos, 2)
	for _, info := range infos {
		require.ErrorIs(t, info.Problem, ErrExtractable)
	}
}

func TestImportInsecureRefuses(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.AllowInsecureKeys = true
	weak := weakRSA(t)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)

	_, err = s.ImportInsecure(t.Context(), "a", weak)
	require.ErrorIs(t, err, ErrWeak)
	_, err = s.ImportInsecure(t.Context(), "a", p521)
	require.ErrorIs(t, err, ErrUnsupported)
	_, err = s.ImportInsecure(t.Context(), "a", "not a key")
	require.ErrorIs(t, err, ErrUnsupported)
	_, err = s.ImportInsecure(t.Context(), "a", nil)
	require.ErrorIs(t, err, ErrUnsupported)
}

// requireSigns has the token sign in both ways and verifies.
func requireSigns(t *testing.T, k *Key) {
	t.Helper()
	message := []byte("message")
	how := k.schemes[0]
	sig, err := k.SignMessage(nil, message, how.opts())
	require.NoError(t, err)
	require.True(t, how.verify(k.Public(), message, sig))

	h := how.hash.New()
	h.Write(message)
	sig, err = k.Sign(nil, h.Sum(nil), how.opts())
	require.NoError(t, err)
	require.True(t, how.verify(k.Public(), message, sig))
}

func TestKeyRefusesToSign(t *testing.T) {
	t.Parallel()
	k := generate(t, open(t), "terminal")
	digest := sha256.Sum256(nil)

	_, err := k.Sign(nil, digest[:20], crypto.SHA1)
	require.ErrorIs(t, err, ErrUnsupported)
	var typed *Error
	_, err = k.Sign(nil, digest[:31], crypto.SHA256)
	require.ErrorAs(t, err, &typed)
	_, err = k.SignMessage(nil, nil, crypto.MD5)
	require.ErrorAs(t, err, &typed)
	require.Equal(t, "terminal", typed.Alias)
}
