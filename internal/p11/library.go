// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"time"

	"github.com/miekg/pkcs11"
)

// A library is the functions of a PKCS#11 module that are used here, with the
// arguments and errors of miekg/pkcs11. The module is in this process (linked), or
// in one of its own (hosted): sessions, logins, outages and everything else that is
// decided in this package do not know which.
type library interface {
	Initialize(...pkcs11.InitializeOption) error
	Finalize() error
	Destroy() // gives up the module; nothing else may be called after it

	GetInfo() (pkcs11.Info, error)
	GetSlotList(present bool) ([]uint, error)
	GetTokenInfo(slot uint) (pkcs11.TokenInfo, error)
	GetMechanismList(slot uint) ([]*pkcs11.Mechanism, error)
	InitToken(slot uint, soPIN, label string) error
	InitPIN(s pkcs11.SessionHandle, pin string) error
	SetPIN(s pkcs11.SessionHandle, oldPIN, newPIN string) error

	OpenSession(slot, flags uint) (pkcs11.SessionHandle, error)
	CloseSession(s pkcs11.SessionHandle) error
	GetSessionInfo(s pkcs11.SessionHandle) (pkcs11.SessionInfo, error)
	Login(s pkcs11.SessionHandle, user uint, pin string) error
	Logout(s pkcs11.SessionHandle) error

	CreateObject(s pkcs11.SessionHandle, template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error
	GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error)
	FindObjectsInit(s pkcs11.SessionHandle, template []*pkcs11.Attribute) error
	FindObjects(s pkcs11.SessionHandle, most int) ([]pkcs11.ObjectHandle, bool, error)
	FindObjectsFinal(s pkcs11.SessionHandle) error
	GenerateKeyPair(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error)
	GenerateRandom(s pkcs11.SessionHandle, n int) ([]byte, error)
	SignInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key pkcs11.ObjectHandle) error

	// sign makes a signature, and says whether the token worked somewhere else
	// than on a processor of this machine (direct.go). Its errors are *Error.
	sign(s pkcs11.SessionHandle, o order) (sig []byte, waited bool, err error)

	// readInto reads attributes with one call (read_direct.go). Its errors are
	// *Error.
	readInto(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, types, room []uint) (attributes, error)
}

// A linked library is a module in this process. What it does to slots is in
// slots.go.
type linked struct {
	*pkcs11.Ctx
	slots *slotLock
}

var _ library = linked{}

// An order is a signature of at most Size bytes to make, beginning with
// C_SignInit unless that is done. Its fields are exported for gob.
type order struct {
	Mechanism ckMechanism
	Key       pkcs11.ObjectHandle
	Begun     bool
	Input     []byte
	Size      int

	limit time.Duration // after which a hosted module is given up
}
