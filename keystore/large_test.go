// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

// A largeKey is an RSA key of many small primes, which is quickly made.
type largeKey struct {
	n      *big.Int
	primes []*big.Int
}

func newLargeKey(t *testing.T, primes int) largeKey {
	t.Helper()
	k := largeKey{n: big.NewInt(1)}
	for len(k.primes) < primes {
		p, err := rand.Prime(rand.Reader, 512)
		require.NoError(t, err)
		if exponent(p) != nil {
			k.primes = append(k.primes, p)
			k.n.Mul(k.n, p)
		}
	}
	return k
}

// exponent returns the private exponent for one prime, or nil.
func exponent(p *big.Int) *big.Int {
	return new(big.Int).ModInverse(big.NewInt(65537), new(big.Int).Sub(p, big.NewInt(1)))
}

// power signs modulo each prime, and puts the parts together.
func (k largeKey) power(m *big.Int) *big.Int {
	sum := new(big.Int)
	for _, p := range k.primes {
		rest := new(big.Int).Div(k.n, p)
		part := new(big.Int).Exp(m, exponent(p), p)
		part.Mul(part, rest).Mul(part, new(big.Int).ModInverse(rest, p))
		sum.Add(sum, part)
	}
	return sum.Mod(sum, k.n)
}

func (k largeKey) Public() crypto.PublicKey { return &rsa.PublicKey{N: k.n, E: 65537} }

// Sign signs with PKCS #1 v1.5 and SHA-256 (RFC 8017 section 9.2).
func (k largeKey) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	info := append([]byte{0, 0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20}, digest...)
	sig := bytes.Repeat([]byte{0xff}, (k.n.BitLen()+7)/8)
	sig[0], sig[1] = 0, 1
	copy(sig[len(sig)-len(info):], info)
	return k.power(new(big.Int).SetBytes(sig)).FillBytes(sig), nil
}

// TestLargeKeysAreNotVerified has a certificate of a size that anybody may put on a
// token.
func TestLargeKeysAreNotVerified(t *testing.T) {
	t.Parallel()
	for primes, want := range map[int]bool{4: true, 33: false} {
		key := newLargeKey(t, primes)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "large"}, IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		require.NoError(t, err)
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		require.NoError(t, c.CheckSignatureFrom(c))
		require.Equal(t, want, selfSigned(c))
		require.Equal(t, want, issued(c, c))
	}
}
