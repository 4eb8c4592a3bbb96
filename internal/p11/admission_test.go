// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"crypto/ecdsa"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAdmission(t *testing.T) {
	t.Parallel()
	const sessions = 100
	a := admission{measured: true}
	see := func(waited bool, n int) {
		for range n {
			a.observe(waited)
		}
	}
	require.Equal(t, processors(), a.limit(sessions), "nothing is known yet")
	require.Equal(t, 1, a.limit(1))
	see(true, 1000)
	require.Equal(t, sessions, a.limit(sessions), "a token that is waited for")
	see(false, majority-1)
	require.Equal(t, sessions, a.limit(sessions), "a few are no majority")
	see(false, 1000)
	require.Equal(t, processors(), a.limit(sessions), "a token that computes")
	see(true, majority)
	require.Equal(t, processors(), a.limit(sessions), "a few are no majority")

	var configured admission
	configured.observe(false)
	require.Equal(t, sessions, configured.limit(sessions))
}

func TestSignatureInDER(t *testing.T) {
	t.Parallel()
	full := func(n int, first byte) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = 0xff
		}
		b[0] = first
		return b
	}
	for _, n := range []int{32, 48, 66} {
		for _, half := range [][]byte{full(n, 0xff), full(n, 0x80), full(n, 0x7f), full(n, 0), append(make([]byte, n-1), 1), append(make([]byte, n-1), 0x80), make([]byte, n)} {
			other := full(n, 1)
			want, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(half), new(big.Int).SetBytes(other)})
			require.NoError(t, err)
			got, err := new(signRequest).fromToken(&ecdsa.PublicKey{}, append(append([]byte{}, half...), other...))
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	for _, n := range []int{0, 1, 63, 2*maxHalf + 2} {
		_, err := new(signRequest).fromToken(&ecdsa.PublicKey{}, make([]byte, n))
		require.Error(t, err, n)
	}
}
