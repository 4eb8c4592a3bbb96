// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import "github.com/miekg/pkcs11"

var _ library = (*hosted)(nil)

func (h *hosted) Initialize(...pkcs11.InitializeOption) error {
	_, err := h.ask(question{Function: "C_Initialize"}, callLimit)
	return err
}

// Finalize is short of time: a library that hangs in it is ended anyway.
func (h *hosted) Finalize() error {
	_, err := h.ask(question{Function: "C_Finalize"}, drainTime)
	return err
}

func (h *hosted) GetInfo() (pkcs11.Info, error) {
	a, err := h.ask(question{Function: "C_GetInfo"}, callLimit)
	return a.Info, err
}

func (h *hosted) GetSlotList(present bool) ([]uint, error) {
	q := question{Function: "C_GetSlotList"}
	if present {
		q.Flags = 1
	}
	a, err := h.ask(q, callLimit)
	return a.Slots, err
}

func (h *hosted) GetTokenInfo(slot uint) (pkcs11.TokenInfo, error) {
	a, err := h.ask(question{Function: "C_GetTokenInfo", Slot: slot}, callLimit)
	return a.Token, err
}

func (h *hosted) GetMechanismList(slot uint) ([]*pkcs11.Mechanism, error) {
	a, err := h.ask(question{Function: "C_GetMechanismList", Slot: slot}, callLimit)
	return a.Mechanisms, err
}

func (h *hosted) InitToken(slot uint, soPIN, label string) error {
	_, err := h.ask(question{Function: "C_InitToken", Slot: slot, PIN: soPIN, Text: label}, longLimit)
	return err
}

func (h *hosted) InitPIN(s pkcs11.SessionHandle, pin string) error {
	_, err := h.ask(question{Function: "C_InitPIN", Session: s, PIN: pin}, callLimit)
	return err
}

func (h *hosted) SetPIN(s pkcs11.SessionHandle, oldPIN, newPIN string) error {
	_, err := h.ask(question{Function: "C_SetPIN", Session: s, PIN: oldPIN, NewPIN: newPIN}, callLimit)
	return err
}

func (h *hosted) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	a, err := h.ask(question{Function: "C_OpenSession", Slot: slot, Flags: flags}, callLimit)
	return a.Session, err
}

func (h *hosted) CloseSession(s pkcs11.SessionHandle) error {
	_, err := h.ask(question{Function: "C_CloseSession", Session: s}, callLimit)
	return err
}

func (h *hosted) GetSessionInfo(s pkcs11.SessionHandle) (pkcs11.SessionInfo, error) {
	a, err := h.ask(question{Function: "C_GetSessionInfo", Session: s}, callLimit)
	return a.State, err
}

func (h *hosted) Login(s pkcs11.SessionHandle, user uint, pin string) error {
	_, err := h.ask(question{Function: "C_Login", Session: s, User: user, PIN: pin}, callLimit)
	return err
}

func (h *hosted) Logout(s pkcs11.SessionHandle) error {
	_, err := h.ask(question{Function: "C_Logout", Session: s}, callLimit)
	return err
}

func (h *hosted) CreateObject(s pkcs11.SessionHandle, template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	a, err := h.ask(question{Function: "C_CreateObject", Session: s, Template: template}, callLimit)
	return a.object(0), err
}

func (h *hosted) DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error {
	_, err := h.ask(question{Function: "C_DestroyObject", Session: s, Object: o}, callLimit)
	return err
}

func (h *hosted) GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, template []*pkcs11.Attribute) ([]*pkcs11.Attribute, error) {
	a, err := h.ask(question{Function: "C_GetAttributeValue", Session: s, Object: o, Template: template}, callLimit)
	return a.Template, err
}

func (h *hosted) FindObjectsInit(s pkcs11.SessionHandle, template []*pkcs11.Attribute) error {
	_, err := h.ask(question{Function: "C_FindObjectsInit", Session: s, Template: template}, callLimit)
	return err
}

func (h *hosted) FindObjects(s pkcs11.SessionHandle, most int) ([]pkcs11.ObjectHandle, bool, error) {
	a, err := h.ask(question{Function: "C_FindObjects", Session: s, Most: most}, callLimit)
	return a.Objects, a.Yes, err
}

func (h *hosted) FindObjectsFinal(s pkcs11.SessionHandle) error {
	_, err := h.ask(question{Function: "C_FindObjectsFinal", Session: s}, callLimit)
	return err
}

func (h *hosted) GenerateKeyPair(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error) {
	a, err := h.ask(question{Function: "C_GenerateKeyPair", Session: s, Mechanisms: m, Template: public, Private: private}, longLimit)
	return a.object(0), a.object(1), err
}

func (h *hosted) GenerateRandom(s pkcs11.SessionHandle, n int) ([]byte, error) {
	a, err := h.ask(question{Function: "C_GenerateRandom", Session: s, Most: n}, callLimit)
	return a.Bytes, err
}

func (h *hosted) SignInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key pkcs11.ObjectHandle) error {
	_, err := h.ask(question{Function: "C_SignInit", Session: s, Mechanisms: m, Object: key}, callLimit)
	return err
}

func (h *hosted) sign(s pkcs11.SessionHandle, o order) (sig []byte, waited bool, err error) {
	a, err := h.ask(question{Function: "C_Sign", Session: s, Order: o}, o.limit)
	return a.Bytes, a.Yes, err
}

func (h *hosted) readInto(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, types, room []uint) (attributes, error) {
	a, err := h.ask(question{Function: "C_GetAttributeValue", Session: s, Object: o, Types: types, Room: room}, callLimit)
	return a.Attributes, err
}

// object is the n-th handle of an answer, zero if it has fewer.
func (a *answer) object(n int) pkcs11.ObjectHandle {
	if n < len(a.Objects) {
		return a.Objects[n]
	}
	return 0
}
