// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"errors"

	"github.com/miekg/pkcs11"
)

// What goes over the sockets between this library and a module host: questions one
// way and answers the other, in turn, in gob. A question is one call of the module.
// Fields that a function does not need are zero and are not sent.

// protocol is the version of all this. It is compared in the greeting.
const protocol = 1

// greeting is the function of the first question of all: load the module that Text
// names.
const greeting = "hello"

// A question is a call of one function of the library.
type question struct {
	Function string // such as "C_OpenSession"

	Slot, Flags, User uint
	Session           pkcs11.SessionHandle
	Object            pkcs11.ObjectHandle
	Text              string // a path or a label
	PIN, NewPIN       string
	Most              int // handles or random bytes
	Mechanisms        []*pkcs11.Mechanism
	Template          []*pkcs11.Attribute
	Private           []*pkcs11.Attribute // of the second half of a key pair
	Types, Room       []uint
	Order             order
}

// An answer is what the library returned.
type answer struct {
	Op   string // the function that failed, if the library has said which
	Code uint   // CKR_
	Text string // of an error that has no code

	Info       pkcs11.Info
	Token      pkcs11.TokenInfo
	State      pkcs11.SessionInfo
	Session    pkcs11.SessionHandle
	Slots      []uint
	Mechanisms []*pkcs11.Mechanism
	Objects    []pkcs11.ObjectHandle
	Template   []*pkcs11.Attribute
	Attributes attributes
	Bytes      []byte
	Yes        bool
}

// put makes an error part of the answer.
func (a *answer) put(err error) {
	var refused *Error
	var code pkcs11.Error
	switch {
	case err == nil:
	case errors.As(err, &refused):
		a.Op, a.Code = refused.Op, refused.Code
	case errors.As(err, &code):
		a.Code = uint(code)
	default:
		a.Text = err.Error()
	}
}

// err is the error that was put, of the type it had.
func (a *answer) err() error {
	switch {
	case a.Op != "":
		return &Error{Op: a.Op, Code: a.Code}
	case a.Code != 0:
		return pkcs11.Error(a.Code)
	case a.Text != "":
		return errors.New(a.Text)
	}
	return nil
}

// functions says how the questions about each function are answered.
var functions = map[string]func(l library, q *question, a *answer) error{
	"C_Initialize": func(l library, _ *question, _ *answer) error { return l.Initialize() },
	"C_Finalize":   func(l library, _ *question, _ *answer) error { return l.Finalize() },
	"C_GetInfo": func(l library, _ *question, a *answer) (err error) {
		a.Info, err = l.GetInfo()
		return err
	},
	"C_GetSlotList": func(l library, q *question, a *answer) (err error) {
		a.Slots, err = l.GetSlotList(q.Flags != 0)
		return err
	},
	"C_GetTokenInfo": func(l library, q *question, a *answer) (err error) {
		a.Token, err = l.GetTokenInfo(q.Slot)
		return err
	},
	"C_GetMechanismList": func(l library, q *question, a *answer) (err error) {
		a.Mechanisms, err = l.GetMechanismList(q.Slot)
		return err
	},
	"C_InitToken": func(l library, q *question, _ *answer) error { return l.InitToken(q.Slot, q.PIN, q.Text) },
	"C_InitPIN":   func(l library, q *question, _ *answer) error { return l.InitPIN(q.Session, q.PIN) },
	"C_SetPIN":    func(l library, q *question, _ *answer) error { return l.SetPIN(q.Session, q.PIN, q.NewPIN) },
	"C_OpenSession": func(l library, q *question, a *answer) (err error) {
		a.Session, err = l.OpenSession(q.Slot, q.Flags)
		return err
	},
	"C_CloseSession": func(l library, q *question, _ *answer) error { return l.CloseSession(q.Session) },
	"C_GetSessionInfo": func(l library, q *question, a *answer) (err error) {
		a.State, err = l.GetSessionInfo(q.Session)
		return err
	},
	"C_Login":  func(l library, q *question, _ *answer) error { return l.Login(q.Session, q.User, q.PIN) },
	"C_Logout": func(l library, q *question, _ *answer) error { return l.Logout(q.Session) },
	"C_CreateObject": func(l library, q *question, a *answer) error {
		o, err := l.CreateObject(q.Session, q.Template)
		a.Objects = []pkcs11.ObjectHandle{o}
		return err
	},
	"C_DestroyObject": func(l library, q *question, _ *answer) error { return l.DestroyObject(q.Session, q.Object) },
	"C_GetAttributeValue": func(l library, q *question, a *answer) (err error) {
		if q.Types != nil {
			a.Attributes, err = l.readInto(q.Session, q.Object, q.Types, q.Room)
			return err
		}
		a.Template, err = l.GetAttributeValue(q.Session, q.Object, q.Template)
		return err
	},
	"C_FindObjectsInit": func(l library, q *question, _ *answer) error { return l.FindObjectsInit(q.Session, q.Template) },
	"C_FindObjects": func(l library, q *question, a *answer) (err error) {
		a.Objects, a.Yes, err = l.FindObjects(q.Session, q.Most)
		return err
	},
	"C_FindObjectsFinal": func(l library, q *question, _ *answer) error { return l.FindObjectsFinal(q.Session) },
	"C_GenerateKeyPair": func(l library, q *question, a *answer) error {
		public, private, err := l.GenerateKeyPair(q.Session, q.Mechanisms, q.Template, q.Private)
		a.Objects = []pkcs11.ObjectHandle{public, private}
		return err
	},
	"C_GenerateRandom": func(l library, q *question, a *answer) (err error) {
		a.Bytes, err = l.GenerateRandom(q.Session, q.Most)
		return err
	},
	"C_SignInit": func(l library, q *question, _ *answer) error { return l.SignInit(q.Session, q.Mechanisms, q.Object) },
	"C_Sign": func(l library, q *question, a *answer) (err error) {
		a.Bytes, a.Yes, err = l.sign(q.Session, q.Order)
		return err
	},
}
