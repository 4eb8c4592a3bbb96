// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo && !race

package p11_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// TestAllocations holds what a signature leaves for the garbage collector: the
// signature itself, and for ECDSA the numbers as the token gives them. It is not
// parallel because AllocsPerRun counts those of everybody, and not for the race
// detector, under which a sync.Pool forgets at random.
func TestAllocations(t *testing.T) {
	token := open(t, config(t))
	digest := sha256.Sum256(nil)
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	for _, tt := range []struct {
		name string
		typ  p11.KeyType
		opts crypto.SignerOpts
		most float64
	}{
		{"PKCS#1", p11.RSA2048, crypto.SHA256, 1},
		{"PSS", p11.RSA2048, pss, 1},
		{"ECDSA", p11.P256, crypto.SHA256, 2},
	} {
		key := generate(t, token, tt.typ)
		signer, err := token.Signer(t.Context(), key.ID, key.Public)
		require.NoError(t, err)
		for how, sign := range map[string]func() ([]byte, error){
			"digest":  func() ([]byte, error) { return signer.SignContext(context.Background(), digest[:], tt.opts) },
			"message": func() ([]byte, error) { return signer.SignMessage(nil, digest[:], tt.opts) },
		} {
			got := testing.AllocsPerRun(100, func() {
				if _, err := sign(); err != nil {
					t.Error(err)
				}
			})
			require.LessOrEqual(t, got, tt.most, "%s, %s", tt.name, how)
		}
	}
}
