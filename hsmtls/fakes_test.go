// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// oneKey is Keys that returns the same for every alias.
type oneKey struct{ cert *tls.Certificate }

func (k oneKey) Certificate(context.Context, string) (*tls.Certificate, error) { return k.cert, nil }

// emptyTrust accepts everything and proves nothing.
type emptyTrust struct{}

func (emptyTrust) Verify([]*x509.Certificate, string, x509.ExtKeyUsage, time.Time) ([]*x509.Certificate, error) {
	return nil, nil
}

// fixedTrust accepts everything, by one chain.
type fixedTrust []*x509.Certificate

func (f fixedTrust) Verify([]*x509.Certificate, string, x509.ExtKeyUsage, time.Time) ([]*x509.Certificate, error) {
	return f, nil
}

// signedWith returns cert as if it was signed with alg.
func signedWith(cert *x509.Certificate, alg x509.SignatureAlgorithm) *x509.Certificate {
	changed := *cert
	changed.SignatureAlgorithm = alg
	return &changed
}

// withKey returns cert as if it was for key.
func withKey(cert *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	changed := *cert
	changed.PublicKey = key
	return &changed
}

// shortRSA is an RSA key of 1024 bits, which FIPS mode does not make. It cannot
// sign.
type shortRSA struct{}

func (shortRSA) Public() crypto.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), 1023)
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

func (shortRSA) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errUnknownAlias
}

// longRSA returns an RSA key longer than crypto/tls takes from a peer.
func longRSA() *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), maxRSASize)
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

// rsaKeys holds one key of each size: making them is what tests spend most of
// their time on.
var rsaKeys sync.Map // bits int → func() (*rsa.PrivateKey, error)

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	once, _ := rsaKeys.LoadOrStore(bits, sync.OnceValues(func() (*rsa.PrivateKey, error) {
		return rsa.GenerateKey(rand.Reader, bits)
	}))
	key, err := once.(func() (*rsa.PrivateKey, error))()
	require.NoError(t, err)
	return key
}
