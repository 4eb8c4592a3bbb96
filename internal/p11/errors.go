// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong with a token, a PIN or a call. Package hsm publishes them.
var (
	ErrClosed         = errors.New("token is closed")
	ErrPIN            = errors.New("PIN is not accepted")
	ErrPINLocked      = errors.New("PIN is locked")
	ErrPINFinalTry    = errors.New("one PIN try is left, not using it")
	ErrNoPIN          = errors.New("token requires a PIN and none was given")
	ErrNotInitialized = errors.New("token is not initialised")
	ErrInitialized    = errors.New("token is already initialised")
	ErrRemoved        = errors.New("token is gone")
	ErrBusy           = errors.New("token is busy")
	ErrUnsupported    = errors.New("not supported by this token")
	ErrStale          = errors.New("object was found before the token was opened again")
	ErrKeyNotFound    = errors.New("no such private key on the token")
	ErrKeyAmbiguous   = errors.New("several private keys have this CKA_ID")
	ErrKeyMismatch    = errors.New("key on the token is not the expected one")
	ErrNoCgo          = errors.New("built without cgo, so no PKCS#11 module can be loaded")
)

// An Error is the answer of a PKCS#11 module to one call.
type Error struct {
	Op   string // the function, such as "C_Sign"
	Code uint   // the CKR_ value
}

// Error gives the function, the name and number of the code, and for the codes
// people meet most the likely cause.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s (0x%x)", e.Op, CodeName(e.Code), e.Code)
	if hint := codeHints[e.Code]; hint != "" {
		s += ", " + hint
	}
	return s
}

// Is reports whether target is the sentinel that stands for the code.
func (e *Error) Is(target error) bool { return codeSentinels[e.Code] == target && target != nil }

// A TokenError says why no token was chosen, with the tokens that are there.
type TokenError struct {
	Module string
	Select Selector
	Found  []TokenInfo
}

// Error names what was looked for and what is there instead.
func (e *TokenError) Error() string {
	if n := e.matches(); n > 1 {
		advice := "add the serial"
		if e.Select.Serial != "" {
			advice = "nothing tells them apart"
		}
		return fmt.Sprintf("%d tokens match %s in %s: %s; %s", n, e.Select, e.Module, e.found(), advice)
	}
	return fmt.Sprintf("no token matches %s in %s, which has %s", e.Select, e.Module, e.found())
}

// Ambiguous reports whether there were several tokens rather than none.
func (e *TokenError) Ambiguous() bool { return e.matches() > 1 }

func (e *TokenError) matches() (n int) {
	for _, t := range e.Found {
		if e.Select.match(t) {
			n++
		}
	}
	return n
}

func (e *TokenError) found() string {
	if len(e.Found) == 0 {
		return "no token at all"
	}
	var names []string
	for _, t := range e.Found {
		if !t.Flags.Initialized {
			names = append(names, fmt.Sprintf("an uninitialised token (slot %d)", t.Slot))
			continue
		}
		names = append(names, fmt.Sprintf("%q (serial %s, slot %d)", t.Label, t.Serial, t.Slot))
	}
	return strings.Join(names, ", ")
}

// String shows the selector as a person would say it.
func (s Selector) String() string {
	var parts []string
	if s.Label != "" {
		parts = append(parts, fmt.Sprintf("label %q", s.Label))
	}
	if s.Serial != "" {
		parts = append(parts, "serial "+s.Serial)
	}
	if s.Slot != nil {
		parts = append(parts, fmt.Sprintf("slot %d", *s.Slot))
	}
	if len(parts) == 0 {
		return "any"
	}
	return strings.Join(parts, " and ")
}

// match reports whether t is meant. A blank token is meant by its slot only.
func (s Selector) match(t TokenInfo) bool {
	return (t.Flags.Initialized || s.Slot != nil) &&
		(s.Label == "" || s.Label == t.Label) &&
		(s.Serial == "" || s.Serial == t.Serial) &&
		(s.Slot == nil || *s.Slot == t.Slot)
}
