// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

func TestSchemesFor(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)

	tests := []struct {
		name string
		key  crypto.PublicKey
		have p11.Mechanisms
		want []tls.SignatureScheme
		err  error
	}{
		{"everything", rsaKey.Public(), p11.Mechanisms{p11.RSAPKCS, p11.RSAPKCSPSS}, []tls.SignatureScheme{
			tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512, tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512,
		}, nil},
		{"no PSS", rsaKey.Public(), p11.Mechanisms{p11.RSAPKCS, p11.ECDSA}, []tls.SignatureScheme{
			tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512,
		}, nil},
		{"only PSS", rsaKey.Public(), p11.Mechanisms{p11.RSAPKCSPSS}, []tls.SignatureScheme{
			tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512,
		}, nil},
		{"hashes itself", rsaKey.Public(), p11.Mechanisms{p11.SHA256RSAPKCS}, []tls.SignatureScheme{tls.PKCS1WithSHA256}, nil},
		{"hashes itself, several", rsaKey.Public(), p11.Mechanisms{p11.SHA512RSAPKCS, p11.SHA384RSAPSS}, []tls.SignatureScheme{
			tls.PKCS1WithSHA512, tls.PSSWithSHA384,
		}, nil},
		{"P-256", newP256(t).Public(), p11.Mechanisms{p11.ECDSA}, []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, nil},
		{"P-384", p384.Public(), p11.Mechanisms{p11.ECDSA}, []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384}, nil},
		{"P-521", p521.Public(), p11.Mechanisms{p11.ECDSA}, nil, ErrUnsupported},
		{"EC key, RSA token", newP256(t).Public(), p11.Mechanisms{p11.RSAPKCS}, nil, ErrUnsupported},
		{"RSA key, EC token", rsaKey.Public(), p11.Mechanisms{p11.ECDSA}, nil, ErrUnsupported},
		{"token that signs nothing", rsaKey.Public(), nil, nil, ErrUnsupported},
		{"short RSA key", weakRSA(t).Public(), p11.Mechanisms{p11.RSAPKCS}, nil, ErrWeak},
		{"Ed25519", ed, p11.Mechanisms{p11.ECDSA, p11.RSAPKCS}, nil, ErrUnsupported},
		{"no key", nil, p11.Mechanisms{p11.ECDSA, p11.RSAPKCS}, nil, ErrUnsupported},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := schemesFor(test.key, test.have)
			require.ErrorIs(t, err, test.err)
			if test.err == nil {
				require.Equal(t, test.want, tlsSchemes(got))
			}
		})
	}
}

// TestSchemesVerify signs in software with every scheme, as a token would, and
// with a wrong key.
func TestSchemesVerify(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for _, how := range rsaSchemes {
		sig, err := crypto.SignMessage(rsaKey, rand.Reader, []byte("message"), how.opts())
		require.NoError(t, err)
		require.True(t, how.verify(rsaKey.Public(), []byte("message"), sig), how.tls)
		require.False(t, how.verify(rsaKey.Public(), []byte("massage"), sig), how.tls)
		require.False(t, how.verify(other.Public(), []byte("message"), sig), how.tls)
		require.False(t, how.verify(nil, []byte("message"), sig), how.tls)
	}
	ec := newP256(t)
	digest := sha256.Sum256([]byte("message"))
	sig, err := ec.Sign(rand.Reader, digest[:], crypto.SHA256)
	require.NoError(t, err)
	require.True(t, p256Schemes[0].verify(ec.Public(), []byte("message"), sig))
	require.False(t, p256Schemes[0].verify(newP256(t).Public(), []byte("message"), sig))
}

func TestKeyTypeNames(t *testing.T) {
	t.Parallel()
	for typ := RSA2048; typ <= P384; typ++ {
		parsed, err := ParseKeyType(typ.String())
		require.NoError(t, err)
		require.Equal(t, typ, parsed)
	}
	for _, name := range []string{"", "other", "rsa1024", "RSA2048"} {
		_, err := ParseKeyType(name)
		require.Error(t, err)
	}
	require.Equal(t, "other", KeyType(0).String())
	require.Zero(t, typeOf("no key"))
}
