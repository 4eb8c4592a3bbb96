// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package faultp11_test

import (
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
)

func TestLoseSessions(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	require.Equal(t, 1, c.m.Sessions())
	c.m.LoseSessions()
	_, err := c.sign()
	requireCode(t, faultp11.SessionHandleInvalid, err)
	require.Zero(t, c.m.Sessions())
	c.session = c.open()
	_, err = c.sign()
	require.Error(t, err, "the login went with the sessions")
	require.NoError(t, c.Login(c.session, pkcs11.CKU_USER, hsmtest.PIN))
	require.Equal(t, 1, c.count(pkcs11.CKO_PRIVATE_KEY))
}

// TestLoseSessionsInTheMiddle loses them at a call of a function.
func TestLoseSessionsInTheMiddle(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.Inject("C_Sign", faultp11.Fault{Mode: faultp11.LoseSessions})
	_, err := c.sign()
	requireCode(t, faultp11.SessionHandleInvalid, err)
	require.Equal(t, 1, c.m.Calls("C_SignInit"))
}

func TestUninitialise(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.Uninitialise()
	for range 2 {
		_, err := c.sign()
		requireCode(t, faultp11.NotInitialized, err)
		_, err = c.GetSlotList(true)
		requireCode(t, faultp11.NotInitialized, err)
	}
	require.Zero(t, c.m.Sessions())
	require.NoError(t, c.Initialize())
	c.login()
	require.Equal(t, 1, c.count(pkcs11.CKO_PRIVATE_KEY))
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.Disconnect(faultp11.DeviceError)
	_, err := c.sign()
	requireCode(t, faultp11.DeviceError, err)
	_, err = c.GetSlotList(true)
	requireCode(t, faultp11.DeviceError, err)
	requireCode(t, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED, c.Initialize())
	_, err = c.GetInfo()
	requireCode(t, faultp11.DeviceError, err)

	c.m.Remove() // the device is still away
	require.NoError(t, c.Finalize())
	require.NoError(t, c.Initialize())
	slots, err := c.GetSlotList(true)
	require.NoError(t, err)
	require.Empty(t, slots)
	c.m.Insert()
	c.login()
	require.Equal(t, 1, c.count(pkcs11.CKO_PRIVATE_KEY))
}

func TestRemove(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.Remove()
	_, err := c.sign()
	requireCode(t, faultp11.DeviceRemoved, err)
	_, err = c.OpenSession(c.slot, readWrite)
	requireCode(t, faultp11.TokenNotPresent, err)
	_, err = c.GetTokenInfo(c.slot)
	requireCode(t, faultp11.TokenNotPresent, err)
	full, err := c.GetSlotList(true)
	require.NoError(t, err)
	require.Empty(t, full)
	all, err := c.GetSlotList(false)
	require.NoError(t, err)
	require.Contains(t, all, c.slot)
	info, err := c.GetSlotInfo(c.slot)
	require.NoError(t, err)
	require.Zero(t, info.Flags&pkcs11.CKF_TOKEN_PRESENT)
	require.Zero(t, c.m.Sessions())

	c.m.Insert()
	_, err = c.sign()
	requireCode(t, faultp11.SessionHandleInvalid, err)
	c.login()
	require.Equal(t, 1, c.count(pkcs11.CKO_PRIVATE_KEY))
}

func TestMaxSessions(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	const readOnly = pkcs11.CKF_SERIAL_SESSION
	c.m.MaxSessions(2)
	info, err := c.GetTokenInfo(c.slot)
	require.NoError(t, err)
	require.EqualValues(t, 2, info.MaxSessionCount)
	require.EqualValues(t, 2, info.MaxRwSessionCount)
	second := c.open()
	_, err = c.OpenSession(c.slot, readOnly)
	requireCode(t, faultp11.SessionCount, err)
	require.NoError(t, c.CloseSession(second))
	_, err = c.OpenSession(c.slot, readOnly)
	require.NoError(t, err)

	c.m.MaxSessions(0)
	c.m.MaxRWSessions(1)
	info, err = c.GetTokenInfo(c.slot)
	require.NoError(t, err)
	require.EqualValues(t, 1, info.MaxRwSessionCount)
	_, err = c.OpenSession(c.slot, readWrite)
	requireCode(t, faultp11.SessionCount, err)
	_, err = c.OpenSession(c.slot, readOnly)
	require.NoError(t, err)
	require.Equal(t, 3, c.m.Sessions())
	require.Equal(t, 3, c.m.PeakSessions())
	require.NoError(t, c.CloseAllSessions(c.slot))
	require.Zero(t, c.m.Sessions())
}

func TestHide(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	before, err := c.GetMechanismList(c.slot)
	require.NoError(t, err)
	c.m.Hide(pkcs11.CKM_ECDSA, pkcs11.CKM_EC_KEY_PAIR_GEN)
	after, err := c.GetMechanismList(c.slot)
	require.NoError(t, err)
	require.Len(t, after, len(before)-2)
	ecdsa := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}
	_, err = c.GetMechanismInfo(c.slot, ecdsa)
	requireCode(t, faultp11.MechanismInvalid, err)
	requireCode(t, faultp11.MechanismInvalid, c.signInit())
	_, _, err = c.generate()
	requireCode(t, faultp11.MechanismInvalid, err)
	c.m.Hide()
	_, err = c.sign()
	require.NoError(t, err)
}

func TestPINTries(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	require.NoError(t, c.Logout(c.session))
	flags := func() uint {
		info, err := c.GetTokenInfo(c.slot)
		require.NoError(t, err)
		return info.Flags & (faultp11.UserPINCountLow | faultp11.UserPINFinalTry | faultp11.UserPINLocked)
	}
	wrong := func() error { return c.Login(c.session, pkcs11.CKU_USER, "000000") }
	c.m.PINTries(3)
	require.Zero(t, flags())
	requireCode(t, faultp11.PINIncorrect, wrong())
	require.EqualValues(t, faultp11.UserPINCountLow, flags())
	requireCode(t, faultp11.PINIncorrect, wrong())
	require.EqualValues(t, faultp11.UserPINCountLow|faultp11.UserPINFinalTry, flags())
	requireCode(t, faultp11.PINIncorrect, wrong())
	require.EqualValues(t, faultp11.UserPINCountLow|faultp11.UserPINLocked, flags())
	requireCode(t, faultp11.PINLocked, c.Login(c.session, pkcs11.CKU_USER, hsmtest.PIN))

	require.NoError(t, c.Login(c.session, pkcs11.CKU_SO, hsmtest.SOPIN))
	require.NoError(t, c.InitPIN(c.session, hsmtest.PIN))
	require.NoError(t, c.Logout(c.session))
	requireCode(t, faultp11.PINIncorrect, wrong())
	require.NoError(t, c.Login(c.session, pkcs11.CKU_USER, hsmtest.PIN))
	require.Zero(t, flags())
}

func TestRefuseAttributes(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	label := pkcs11.NewAttribute(pkcs11.CKA_LABEL, "label")
	private := func(v bool) *pkcs11.Attribute { return pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, v) }
	o, err := c.data(label)
	require.NoError(t, err)

	c.m.RefuseAttributes(pkcs11.CKA_LABEL)
	_, err = c.data(label)
	requireCode(t, faultp11.AttributeTypeInvalid, err)
	_, _, err = c.generate(label)
	requireCode(t, faultp11.AttributeTypeInvalid, err)
	_, err = c.CopyObject(c.session, o, []*pkcs11.Attribute{label})
	requireCode(t, faultp11.AttributeTypeInvalid, err)
	requireCode(t, faultp11.AttributeTypeInvalid, c.SetAttributeValue(c.session, o, []*pkcs11.Attribute{label}))
	_, err = c.GetAttributeValue(c.session, o, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil), label})
	requireCode(t, faultp11.AttributeTypeInvalid, err)
	_, err = c.GetAttributeValue(c.session, o, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
	require.NoError(t, err)

	c.m.Refuse(faultp11.Refusal{
		Attribute: pkcs11.CKA_PRIVATE,
		Classes:   []uint{pkcs11.CKO_CERTIFICATE, pkcs11.CKO_DATA},
		Code:      faultp11.AttributeValueInvalid,
		OnlyTrue:  true,
	})
	_, err = c.data(private(true))
	requireCode(t, faultp11.AttributeValueInvalid, err)
	_, err = c.data(private(false))
	require.NoError(t, err)
	_, _, err = c.generate(private(true))
	require.NoError(t, err)
	c.m.Refuse()
	_, err = c.data(private(true), label)
	require.NoError(t, err)
}

// TestParallel holds that the calls in flight are counted, and that a token
// which works on one call at a time takes as long as its calls together.
func TestParallel(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	random := func(n int, meanwhile func()) time.Duration {
		sessions := make([]pkcs11.SessionHandle, n)
		for i := range sessions {
			sessions[i] = c.open() // all before the first call, which may keep the token's only turn
		}
		var wg sync.WaitGroup
		start := time.Now()
		for _, s := range sessions {
			wg.Go(func() {
				if _, err := c.GenerateRandom(s, 8); err != nil {
					t.Error(err)
				}
			})
		}
		meanwhile()
		wg.Wait()
		return time.Since(start)
	}
	c.m.Hang("C_GenerateRandom", faultp11.ForEver)
	random(4, func() {
		require.Eventually(t, func() bool { return c.m.Hanging() == 4 }, 30*time.Second, time.Millisecond)
		require.Equal(t, 4, c.m.InFlight("C_GenerateRandom"))
		c.m.Release()
	})
	require.Zero(t, c.m.InFlight("C_GenerateRandom"))
	require.Equal(t, 4, c.m.MaxInFlight("C_GenerateRandom"))

	c.m.Parallel(1)
	c.m.Delay("C_GenerateRandom", 100*time.Millisecond)
	require.GreaterOrEqual(t, random(4, func() {}), 400*time.Millisecond)

	c.m.Delay("C_GenerateRandom", 0)
	c.m.Hang("C_GenerateRandom", 1)
	random(2, func() {
		require.Eventually(t, func() bool { return c.m.InFlight("C_GenerateRandom") == 2 }, 30*time.Second, time.Millisecond)
		require.LessOrEqual(t, c.m.Hanging(), 1)
		c.m.Release()
	})
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.Hang("C_GenerateRandom", 1)
	done := make(chan error, 1)
	go func() { _, err := c.GenerateRandom(c.session, 1); done <- err }()
	require.Eventually(t, func() bool { return c.m.Hanging() == 1 }, 30*time.Second, time.Millisecond)
	_, err := c.GenerateRandom(c.session, 1)
	require.NoError(t, err)
	c.m.Release()
	require.NoError(t, <-done)
	require.Equal(t, faultp11.Misuse{SharedSession: 1}, c.m.Misuse())
	c.m.ResetCalls()
	require.Equal(t, faultp11.Misuse{}, c.m.Misuse())
}

func TestReset(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.Fail("C_Sign", faultp11.ForEver, faultp11.DeviceError)
	c.m.DelayAll(time.Hour)
	c.m.Hide(pkcs11.CKM_ECDSA)
	c.m.RefuseAttributes(pkcs11.CKA_LABEL)
	c.m.MaxSessions(1)
	c.m.PINFlags(faultp11.UserPINLocked)
	c.m.Remove()
	c.m.Reset()
	require.Empty(t, c.m.CallTable())
	require.Zero(t, c.m.Total())
	c.login()
	require.Equal(t, 1, c.count(pkcs11.CKO_PRIVATE_KEY))
	require.Equal(t, map[string]int{"C_OpenSession": 1, "C_Login": 1, "C_FindObjectsInit": 1, "C_FindObjects": 1, "C_FindObjectsFinal": 1}, c.m.CallTable())
	require.Equal(t, 5, c.m.Total())
}
