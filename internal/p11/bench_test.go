// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

func BenchmarkSign(b *testing.B) { benchmarkSign(b, "") }

// BenchmarkSignHosted is BenchmarkSign with the module in a process of its own.
func BenchmarkSignHosted(b *testing.B) { benchmarkSign(b, os.Args[0]) }

func benchmarkSign(b *testing.B, host string) {
	cfg := hsmtest.Config(b)
	token, err := p11.Open(b.Context(), p11.Config{Module: cfg.Module, Host: host, Select: p11.Selector{Label: cfg.Token}, PIN: pin(hsmtest.PIN)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, token.Close()) })
	digest := sha256.Sum256([]byte("what is signed"))
	for _, bb := range []struct {
		name string
		typ  p11.KeyType
		opts crypto.SignerOpts
	}{
		{"RSA-2048/PKCS1", p11.RSA2048, crypto.SHA256},
		{"RSA-2048/PSS", p11.RSA2048, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}},
		{"P-256", p11.P256, crypto.SHA256},
	} {
		b.Run(bb.name, func(b *testing.B) {
			id := make([]byte, 20)
			_, _ = rand.Read(id)
			key, err := token.GenerateKey(b.Context(), p11.KeyTemplate{Label: bb.name, ID: id, Type: bb.typ})
			require.NoError(b, err)
			signer, err := token.Signer(b.Context(), id, key.Public)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := signer.Sign(rand.Reader, digest[:], bb.opts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCall is the cheapest call there is, so the cost of calling.
func BenchmarkCall(b *testing.B) { benchmarkCall(b, "") }

// BenchmarkCallHosted is BenchmarkCall with the module in a process of its own.
func BenchmarkCallHosted(b *testing.B) { benchmarkCall(b, os.Args[0]) }

func benchmarkCall(b *testing.B, host string) {
	cfg := hsmtest.Config(b)
	token, err := p11.Open(b.Context(), p11.Config{Module: cfg.Module, Host: host, Select: p11.Selector{Label: cfg.Token}, PIN: pin(hsmtest.PIN)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, token.Close()) })
	for b.Loop() {
		if err := token.Check(b.Context(), 0); err != nil {
			b.Fatal(err)
		}
	}
}
