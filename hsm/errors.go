// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"errors"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// An Error is what a PKCS#11 module answered to one call: Op is the function,
// such as "C_Sign", and Code the CKR_ value (PKCS#11 v2.40 section 5.1). Its
// text gives the name of the code and the likely cause. errors.Is finds
// [ErrPIN], [ErrPINLocked], [ErrRemoved], [ErrBusy] and [ErrUnsupported] in it.
type Error = p11.Error

// The errors to branch on. They are found with errors.Is.
var (
	// ErrClosed is returned by everything that is used after [Token.Close].
	ErrClosed = p11.ErrClosed

	// ErrNotFound is returned by [Open], [Init] and [UnblockPIN] if no token
	// fits, ErrAmbiguous if several do.
	ErrNotFound  = errors.New("token not found")
	ErrAmbiguous = errors.New("token is ambiguous")

	// ErrPIN is returned for a PIN that the token does not accept. It was
	// tried once. ErrPINLocked and ErrPINFinalTry are returned by [Open]
	// without any try. ErrNoPIN is returned if a token requires a PIN and the
	// configuration has none.
	ErrPIN         = p11.ErrPIN
	ErrPINLocked   = p11.ErrPINLocked
	ErrPINFinalTry = p11.ErrPINFinalTry
	ErrNoPIN       = p11.ErrNoPIN

	// ErrNotInitialized is returned by [Open] for a blank token,
	// ErrInitialized by [Init] for one that is not.
	ErrNotInitialized = p11.ErrNotInitialized
	ErrInitialized    = p11.ErrInitialized

	// ErrRemoved is returned when the token has gone.
	ErrRemoved = p11.ErrRemoved

	// ErrBusy is returned when no session is free in time, and for managing a
	// token that this process has open.
	ErrBusy = p11.ErrBusy

	// ErrUnsupported is returned for what the token cannot do.
	ErrUnsupported = p11.ErrUnsupported

	// ErrNoCgo is returned by everything that would load a module, in a
	// program that was built without cgo.
	ErrNoCgo = p11.ErrNoCgo

	// ErrPINFile is returned for a PIN file that others can read.
	ErrPINFile = errors.New("PIN file can be read by others")
)
