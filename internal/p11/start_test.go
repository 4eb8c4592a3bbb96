// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package p11_test

import (
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// TestStart counts the module calls of opening a token, of finding a key and of
// the first signature. Beside the token SoftHSM has a blank one, which is asked who it
// is.
func TestStart(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := faultConfig(t, m)
	first := open(t, cfg)
	key := generate(t, first, p11.P256)
	require.NoError(t, first.Close())

	m.ResetCalls()
	token := open(t, cfg)
	require.Equal(t, map[string]int{
		"C_Initialize": 1, "C_GetSlotList": 2, "C_GetTokenInfo": 2, "C_GetMechanismList": 2, "C_OpenSession": 1, "C_Login": 1,
	}, m.CallTable())

	m.ResetCalls()
	keys, err := token.Keys(t.Context(), p11.Filter{ID: key.ID})
	require.NoError(t, err)
	require.Len(t, keys, 1)
	m.ResetCalls()
	signer, err := token.Signer(t.Context(), key.ID, keys[0].Public)
	require.NoError(t, err)
	require.Zero(t, m.Total(), "the key was found before")
	requireSigns(t, signer)
	require.Equal(t, map[string]int{"C_SignInit": 1, "C_Sign": 1}, m.CallTable())
}

// TestSlowTokenGetsAllSessions: a token that is waited for is given as many
// signatures as there are sessions, one that computes is not.
func TestSlowTokenGetsAllSessions(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *p11.Config) { c.Sessions = 0 })
	const callers = 8
	b.Delay("C_Sign", 50*time.Millisecond)
	for range callers {
		require.NoError(t, b.sign(t.Context()))
	}
	b.Hang("C_Sign", callers)
	done := make(chan error, callers)
	for range callers {
		go func() { done <- b.sign(t.Context()) }()
	}
	require.Eventually(t, func() bool { return b.Hanging() == callers }, 30*time.Second, time.Millisecond)
	b.Release()
	for range callers {
		require.NoError(t, <-done)
	}
	require.Equal(t, callers, b.MaxInFlight("C_Sign"))
	require.Zero(t, b.Misuse())
}

// TestInitialisedBySomebodyElse refuses a module that another user in the process has
// initialised, and leaves it to him.
func TestInitialisedBySomebodyElse(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := faultConfig(t, m)
	somebody := pkcs11.New(m.Path)
	require.NotNil(t, somebody)
	defer somebody.Destroy()
	require.NoError(t, somebody.Initialize())

	_, err := p11.Open(t.Context(), cfg)
	var refused *p11.Error
	require.ErrorAs(t, err, &refused)
	require.EqualValues(t, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED, refused.Code)
	require.ErrorContains(t, err, "somebody else in this process")

	_, err = somebody.GetInfo()
	require.NoError(t, err)
	require.NoError(t, somebody.Finalize())
	open(t, cfg)
}
