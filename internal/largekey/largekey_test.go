// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package largekey_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/largekey"
)

func TestIn(t *testing.T) {
	t.Parallel()
	bits := func(n uint) *x509.Certificate {
		return &x509.Certificate{PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), n-1)}}
	}
	require.False(t, largekey.In(bits(2048)))
	require.False(t, largekey.In(bits(largekey.MaxRSABits)))
	require.True(t, largekey.In(bits(largekey.MaxRSABits+1)))
	require.False(t, largekey.In(&x509.Certificate{PublicKey: new(ecdsa.PublicKey)}))
	require.False(t, largekey.In(new(x509.Certificate)))
}
