// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package keystore

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

// selfSign makes the token's own root.
func selfSign(t *testing.T, key *Key, name string) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

func TestInjectAuthority(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := New(hsmtest.Token(t))
	key, err := s.Generate(ctx, "ca", P256)
	require.NoError(t, err)
	root := selfSign(t, key, "root")
	leaf := issue(authority(), "leaf", key.Public())

	require.ErrorIs(t, s.Inject(ctx, "ca_pub", "ca", []*x509.Certificate{root}), ErrChain)
	require.ErrorIs(t, s.InjectAuthority(ctx, "ca_pub", "ca", leaf), ErrChain)
	require.NoError(t, s.InjectAuthority(ctx, "ca_pub", "ca", []*x509.Certificate{root}))
	require.NoError(t, s.InjectAuthority(ctx, "ca_pub", "ca", []*x509.Certificate{root}))

	id, err := s.Identity(ctx, "ca_pub")
	require.NoError(t, err)
	require.True(t, id.Chain[0].Equal(root))
	_, err = s.Certificate(ctx, "ca_pub")
	require.ErrorIs(t, err, ErrChain)

	require.ErrorIs(t, s.Replace(ctx, "ca_pub", leaf), ErrChain)
	next := selfSign(t, key, "root")
	require.NoError(t, s.Replace(ctx, "ca_pub", []*x509.Certificate{next}))
	id, err = s.Identity(ctx, "ca_pub")
	require.NoError(t, err)
	require.True(t, id.Chain[0].Equal(next))

	require.NoError(t, s.Inject(ctx, "leaf_pub", "ca", leaf))
	require.ErrorIs(t, s.Replace(ctx, "leaf_pub", []*x509.Certificate{next}), ErrChain)
}
