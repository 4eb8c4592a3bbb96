// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package faultp11_test

import (
	"os"
	"testing"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
)

func TestMain(m *testing.M) {
	os.Exit(hsmtest.LeakFree(hsmtest.Main(m)))
}

// A client is an application of the bare module: what it sees is what the
// module answers, whatever the packages above make of it.
type client struct {
	*pkcs11.Ctx
	t       *testing.T
	m       *faultp11.Module
	slot    uint
	session pkcs11.SessionHandle
	key     pkcs11.ObjectHandle
}

// newClient has a token with a P-256 key, a read/write session and the login.
// Nothing is counted yet.
func newClient(t *testing.T) *client {
	t.Helper()
	m := faultp11.New(t)
	label := m.Config(t).Token
	c := &client{Ctx: pkcs11.New(m.Path), t: t, m: m}
	require.NotNil(t, c.Ctx)
	require.NoError(t, c.Initialize())
	t.Cleanup(func() {
		_ = c.Finalize()
		c.Destroy()
	})
	slots, err := c.GetSlotList(true)
	require.NoError(t, err)
	for _, slot := range slots {
		info, err := c.GetTokenInfo(slot)
		require.NoError(t, err)
		if info.Label == label {
			c.slot = slot
		}
	}
	c.login()
	_, c.key, err = c.generate()
	require.NoError(t, err)
	m.ResetCalls()
	return c
}

// login opens the session anew and logs in.
func (c *client) login() {
	c.t.Helper()
	c.session = c.open()
	require.NoError(c.t, c.Login(c.session, pkcs11.CKU_USER, hsmtest.PIN))
}

const readWrite = pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION

func (c *client) open() pkcs11.SessionHandle {
	c.t.Helper()
	s, err := c.OpenSession(c.slot, readWrite)
	require.NoError(c.t, err)
	return s
}

func (c *client) generate(extra ...*pkcs11.Attribute) (public, private pkcs11.ObjectHandle, err error) {
	p256 := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	token := pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true)
	return c.GenerateKeyPair(c.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{token, pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256)},
		append([]*pkcs11.Attribute{token, pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)}, extra...))
}

// data writes a data object, which has an application attribute if private.
func (c *client) data(attributes ...*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	return c.CreateObject(c.session, append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_VALUE, "value"),
	}, attributes...))
}

// count returns how many objects of a class the token has.
func (c *client) count(class uint) int {
	c.t.Helper()
	require.NoError(c.t, c.FindObjectsInit(c.session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}))
	found, _, err := c.FindObjects(c.session, 100)
	require.NoError(c.t, err)
	require.NoError(c.t, c.FindObjectsFinal(c.session))
	return len(found)
}

func (c *client) signInit() error {
	return c.SignInit(c.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, c.key)
}

// sign makes one signature: C_SignInit, C_Sign(NULL), C_Sign.
func (c *client) sign() ([]byte, error) {
	if err := c.signInit(); err != nil {
		return nil, err
	}
	return c.Ctx.Sign(c.session, make([]byte, 32))
}

func (c *client) verifies(sig []byte) bool {
	c.t.Helper()
	require.NoError(c.t, c.FindObjectsInit(c.session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY)}))
	found, _, err := c.FindObjects(c.session, 1)
	require.NoError(c.t, err)
	require.NoError(c.t, c.FindObjectsFinal(c.session))
	require.NoError(c.t, c.VerifyInit(c.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, found[0]))
	return c.Verify(c.session, make([]byte, 32), sig) == nil
}

// requireCode is ErrorIs for the module's own codes.
func requireCode(t *testing.T, code uint, err error) {
	t.Helper()
	require.Equal(t, pkcs11.Error(code), err)
}
