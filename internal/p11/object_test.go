// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"reflect"
	"testing"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"
)

func TestUnpad(t *testing.T) {
	t.Parallel()
	der := []byte{0x30, 0x03, 0x02, 0x01, 0x07}
	pad := func(tail ...byte) []byte { return append(der[:len(der):len(der)], tail...) }
	require.Equal(t, der, unpad(der))
	require.Equal(t, der, unpad(pad(0, 0, 0)))
	require.Equal(t, pad(0, 1), unpad(pad(0, 1)))
	require.Equal(t, []byte("no DER"), unpad([]byte("no DER")))
	require.Empty(t, unpad(nil))
}

func TestECPublicKey(t *testing.T) {
	t.Parallel()
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		params, err := curveParams(curve)
		require.NoError(t, err)
		bare, err := key.PublicKey.Bytes()
		require.NoError(t, err)
		wrapped, err := asn1.Marshal(bare)
		require.NoError(t, err)
		require.True(t, key.PublicKey.Equal(ecPublicKey(params, bare)))
		require.True(t, key.PublicKey.Equal(ecPublicKey(params, wrapped)))
		require.Nil(t, ecPublicKey(params, bare[:len(bare)-1]))
		require.Nil(t, ecPublicKey(nil, bare))
	}
	_, err := curveParams(elliptic.P224())
	require.ErrorIs(t, err, ErrUnsupported)
}

func TestRSAPublicKey(t *testing.T) {
	t.Parallel()
	require.NotNil(t, rsaPublicKey([]byte{0xc5}, []byte{1, 0, 1}))
	require.Nil(t, rsaPublicKey(nil, []byte{1, 0, 1}))
	require.Nil(t, rsaPublicKey([]byte{0xc5}, []byte{1}))
	require.Nil(t, rsaPublicKey([]byte{0xc5}, make([]byte, 0)))
	require.Nil(t, rsaPublicKey([]byte{0xc5}, []byte{1, 0, 0, 0, 0, 0, 0, 0, 1}))
}

// TestPINIsNotAskedFor holds the promise that the last try is never spent:
// SoftHSM has no such state, so the flags come from here.
func TestPINIsNotAskedFor(t *testing.T) {
	t.Parallel()
	ready := TokenFlags{Initialized: true, LoginRequired: true, UserPINSet: true}
	locked, final := ready, ready
	locked.UserPINLocked = true
	final.UserPINFinalTry = true
	for _, tt := range []struct {
		flags TokenFlags
		want  error
	}{
		{locked, ErrPINLocked},
		{final, ErrPINFinalTry},
		{TokenFlags{}, ErrNotInitialized},
		{ready, ErrNoPIN},
		{TokenFlags{Initialized: true}, nil},
	} {
		_, err := askPIN(t.Context(), Config{}, TokenInfo{Flags: tt.flags})
		require.ErrorIs(t, err, tt.want)
	}
}

func TestSessionsFollowTheTokensLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ wish, limit, want int }{
		{0, 0, max(defaultSessions, processors())},
		{16, 0, 16},
		{16, 10, 10},
		{4, 1, 1},
		{4, 3, 3},
	} {
		c := newCore(nil, Config{Sessions: tt.wish}, TokenInfo{MaxSessions: tt.limit})
		require.Equal(t, tt.want, c.sessions)
	}
}

// TestDirect holds what direct.go knows of miekg/pkcs11: a Ctx is one pointer.
// That the pointer leads to the module is shown by every signature.
func TestDirect(t *testing.T) {
	t.Parallel()
	ctx := reflect.TypeFor[pkcs11.Ctx]()
	require.Equal(t, 1, ctx.NumField())
	require.Equal(t, reflect.Pointer, ctx.Field(0).Type.Kind())
}
