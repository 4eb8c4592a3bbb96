// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package faultp11_test

import (
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
)

// TestFailEveryFunction makes each function fail once, and then work.
func TestFailEveryFunction(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	object := func() pkcs11.ObjectHandle {
		o, err := c.data()
		require.NoError(t, err)
		return o
	}
	one := func() []*pkcs11.Attribute {
		return []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, "x")}
	}
	// In an order in which each leaves what the next one needs.
	for _, f := range []struct {
		name string
		call func() error
	}{
		{"C_GetInfo", func() error { _, err := c.GetInfo(); return err }},
		{"C_GetSlotList", func() error { _, err := c.GetSlotList(true); return err }},
		{"C_GetSlotInfo", func() error { _, err := c.GetSlotInfo(c.slot); return err }},
		{"C_GetTokenInfo", func() error { _, err := c.GetTokenInfo(c.slot); return err }},
		{"C_GetMechanismList", func() error { _, err := c.GetMechanismList(c.slot); return err }},
		{"C_GetMechanismInfo", func() error {
			_, err := c.GetMechanismInfo(c.slot, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)})
			return err
		}},
		{"C_OpenSession", func() error { _, err := c.OpenSession(c.slot, readWrite); return err }},
		{"C_GetSessionInfo", func() error { _, err := c.GetSessionInfo(c.session); return err }},
		{"C_CreateObject", func() error { _, err := c.data(); return err }},
		{"C_CopyObject", func() error { _, err := c.CopyObject(c.session, object(), one()); return err }},
		{"C_SetAttributeValue", func() error { return c.SetAttributeValue(c.session, object(), one()) }},
		{"C_GetAttributeValue", func() error { _, err := c.GetAttributeValue(c.session, c.key, one()); return err }},
		{"C_DestroyObject", func() error { return c.DestroyObject(c.session, object()) }},
		{"C_FindObjectsInit", func() error { return c.FindObjectsInit(c.session, nil) }},
		{"C_FindObjects", func() error { _, _, err := c.FindObjects(c.session, 1); return err }},
		{"C_FindObjectsFinal", func() error { return c.FindObjectsFinal(c.session) }},
		{"C_GenerateKeyPair", func() error { _, _, err := c.generate(); return err }},
		{"C_GenerateRandom", func() error { _, err := c.GenerateRandom(c.session, 1); return err }},
		{"C_SignInit", func() error { _, err := c.sign(); return err }},
		{"C_Sign", func() error { _, err := c.sign(); return err }},
		{"C_Sign(NULL)", func() error { _, err := c.sign(); return err }},
		{"C_Logout", func() error { return c.Logout(c.session) }},
		{"C_Login", func() error { return c.Login(c.session, pkcs11.CKU_USER, "123456") }},
		{"C_SetPIN", func() error { return c.SetPIN(c.session, "123456", "654321") }},
		{"C_CloseSession", func() error { return c.CloseSession(c.session) }},
		{"C_CloseAllSessions", func() error { return c.CloseAllSessions(c.slot) }},
		{"C_Finalize", c.Finalize},
		{"C_Initialize", func() error { return c.Initialize() }},
	} {
		c.m.Fail(f.name, 1, faultp11.DeviceError)
		requireCode(t, faultp11.DeviceError, f.call())
		require.NoError(t, f.call(), f.name)
		require.Equal(t, 1, c.m.Hits(f.name), f.name)
		require.GreaterOrEqual(t, c.m.Calls(f.name), 2, f.name)
		require.Zero(t, c.m.InFlight(f.name), f.name)
	}
	require.Zero(t, c.m.Sessions())
	require.Equal(t, faultp11.Misuse{}, c.m.Misuse())
}

func TestFailCounts(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	random := func() error { _, err := c.GenerateRandom(c.session, 1); return err }
	c.m.Inject("C_GenerateRandom", faultp11.Fault{Mode: faultp11.Fail, Code: faultp11.GeneralError, After: 2, Times: 2})
	require.NoError(t, random())
	require.NoError(t, random())
	requireCode(t, faultp11.GeneralError, random())
	requireCode(t, faultp11.GeneralError, random())
	require.NoError(t, random())

	c.m.Fail("C_GenerateRandom", faultp11.ForEver, 0x80000001)
	for range 5 {
		requireCode(t, 0x80000001, random())
	}
	c.m.Clear("C_GenerateRandom")
	require.NoError(t, random())
	require.Equal(t, 7, c.m.Hits("C_GenerateRandom"))
	require.Equal(t, 11, c.m.Calls("C_GenerateRandom"))
}

// TestFailedSignature holds that a failed signature is over, as the standard
// says, and that FailActive is not.
func TestFailedSignature(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for _, name := range []string{"C_Sign", "C_Sign(NULL)"} {
		c.m.Fail(name, 1, faultp11.DeviceError)
		_, err := c.sign()
		requireCode(t, faultp11.DeviceError, err)
		_, err = c.sign()
		require.NoError(t, err)
	}
	c.m.Inject("C_Sign", faultp11.Fault{Mode: faultp11.FailActive, Code: faultp11.DeviceError})
	_, err := c.sign()
	requireCode(t, faultp11.DeviceError, err)
	requireCode(t, faultp11.OperationActive, c.signInit())
	_, err = c.Ctx.Sign(c.session, make([]byte, 32))
	require.NoError(t, err)

	c.m.Fail("C_Sign", 1, faultp11.BufferTooSmall)
	require.NoError(t, c.signInit())
	_, err = c.Ctx.Sign(c.session, make([]byte, 32))
	requireCode(t, faultp11.BufferTooSmall, err)
	_, err = c.Ctx.Sign(c.session, make([]byte, 32)) // which did not end it
	require.NoError(t, err)
}

func TestFailedSignatureInParts(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	rsa, err := c.rsaKey()
	require.NoError(t, err)
	c.key = rsa
	sign := func() ([]byte, error) {
		if err := c.SignInit(c.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_SHA256_RSA_PKCS, nil)}, c.key); err != nil {
			return nil, err
		}
		if err := c.SignUpdate(c.session, []byte("part")); err != nil {
			return nil, err
		}
		return c.SignFinal(c.session)
	}
	want, err := sign()
	require.NoError(t, err)
	for _, name := range []string{"C_SignUpdate", "C_SignFinal", "C_SignFinal(NULL)"} {
		c.m.Fail(name, 1, faultp11.DeviceError)
		_, err = sign()
		requireCode(t, faultp11.DeviceError, err)
		again, err := sign()
		require.NoError(t, err)
		require.Equal(t, want, again)
	}
	c.m.FlipSignatures(1)
	spoilt, err := sign()
	require.NoError(t, err)
	require.NotEqual(t, want, spoilt)
}

func (c *client) rsaKey() (pkcs11.ObjectHandle, error) {
	_, key, err := c.GenerateKeyPair(c.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, 1024)},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)})
	return key, err
}

func TestLoseAnswer(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.LoseAnswer("C_GenerateKeyPair", 1, faultp11.DeviceError)
	_, _, err := c.generate()
	requireCode(t, faultp11.DeviceError, err)
	require.Equal(t, 2, c.count(pkcs11.CKO_PRIVATE_KEY))

	c.m.LoseAnswer("C_CreateObject", 1, faultp11.DeviceError)
	_, err = c.data()
	requireCode(t, faultp11.DeviceError, err)
	require.Equal(t, 1, c.count(pkcs11.CKO_DATA))
}

func TestForget(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	forget := faultp11.Fault{Mode: faultp11.Forget}
	c.m.Inject("C_CreateObject", forget)
	o, err := c.data()
	require.NoError(t, err)
	require.Zero(t, c.count(pkcs11.CKO_DATA))
	_, err = c.GetAttributeValue(c.session, o, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
	requireCode(t, faultp11.ObjectHandleInvalid, err)

	c.m.Inject("C_GenerateKeyPair", forget)
	_, _, err = c.generate()
	require.NoError(t, err)
	require.Equal(t, 1, c.count(pkcs11.CKO_PRIVATE_KEY))
	require.Equal(t, 1, c.count(pkcs11.CKO_PUBLIC_KEY))

	c.m.Inject("C_DestroyObject", forget)
	require.NoError(t, c.DestroyObject(c.session, c.key))
	require.Equal(t, 1, c.count(pkcs11.CKO_PRIVATE_KEY))
}

func TestFlipSignatures(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.FlipSignatures(1)
	bad, err := c.sign()
	require.NoError(t, err)
	require.False(t, c.verifies(bad))
	good, err := c.sign()
	require.NoError(t, err)
	require.True(t, c.verifies(good))
}

func TestDelay(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	const d = 60 * time.Millisecond
	took := func() time.Duration {
		start := time.Now()
		_, err := c.sign()
		require.NoError(t, err)
		return time.Since(start)
	}
	c.m.Delay("C_Sign", d)
	require.GreaterOrEqual(t, took(), d)
	require.GreaterOrEqual(t, took(), d)
	c.m.Inject("C_Sign", faultp11.Fault{Mode: faultp11.Delay, For: 2 * d})
	require.GreaterOrEqual(t, took(), 3*d)
	c.m.Delay("C_Sign", 0)
	require.Eventually(t, func() bool { return took() < d }, 30*time.Second, time.Millisecond)
	c.m.DelayAll(d)
	require.GreaterOrEqual(t, took(), 3*d) // a call to ask for the length is one
	c.m.DelayAll(0)
	require.Eventually(t, func() bool { return took() < d }, 30*time.Second, time.Millisecond)
}

func TestHang(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.Hang("C_Sign", faultp11.ForEver)
	signed := make(chan error, 1)
	go func() { _, err := c.sign(); signed <- err }()
	require.Eventually(t, func() bool { return c.m.Hanging() == 1 }, 30*time.Second, time.Millisecond)
	require.Equal(t, 1, c.m.InFlight("C_Sign"))
	_, err := c.GetInfo() // others go on
	require.NoError(t, err)
	require.Empty(t, signed)
	c.m.Release()
	require.NoError(t, <-signed)
	require.Zero(t, c.m.Hanging())
	_, err = c.sign()
	require.NoError(t, err)
}

// TestHangAcrossFinalize holds that a call may hang while its module is
// finalised and unloaded, so that a test survives it.
func TestHangAcrossFinalize(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.m.Hang("C_Sign", 1)
	require.NoError(t, c.signInit())
	hanging := pkcs11.New(c.m.Path)
	signed := make(chan error, 1)
	go func() { _, err := hanging.Sign(c.session, make([]byte, 32)); signed <- err }()
	require.Eventually(t, func() bool { return c.m.Hanging() == 1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, c.Finalize())
	require.Equal(t, 1, c.m.Misuse().FinalizedInside)
	c.m.Release()
	requireCode(t, faultp11.NotInitialized, <-signed)
	hanging.Destroy()
	require.NoError(t, c.Initialize())
	c.login()
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	m, err := faultp11.Build(faultp11.Config{Dir: t.TempDir(), Module: faultp11.New(t).Path})
	require.NoError(t, err)
	for name, f := range map[string]struct {
		function string
		fault    faultp11.Fault
	}{
		"unknown function": {"C_Sing", faultp11.Fault{Mode: faultp11.Hang}},
		"no mode":          {"C_Sign", faultp11.Fault{Code: faultp11.DeviceError}},
		"no code":          {"C_Sign", faultp11.Fault{Mode: faultp11.Fail}},
		"no duration":      {"C_Sign", faultp11.Fault{Mode: faultp11.Delay}},
		"no signature":     {"C_Login", faultp11.Fault{Mode: faultp11.Flip}},
		"no write":         {"C_FindObjects", faultp11.Fault{Mode: faultp11.Forget}},
		"too often":        {"C_Sign", faultp11.Fault{Mode: faultp11.Hang, Times: 4095}},
		"too late":         {"C_Sign", faultp11.Fault{Mode: faultp11.Hang, After: 4095}},
	} {
		require.Panics(t, func() { m.Inject(f.function, f.fault) }, name)
	}
	require.Panics(t, func() { m.Calls("C_Digest") })
}
