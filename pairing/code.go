// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"strings"
)

// codeLength is the number of characters of a setup code, five bits each.
const codeLength = 8

// codeAlphabet is Crockford's base 32: digits and letters without I, L, O, U.
const codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// A Code is a setup code. It is a secret for as long as it is shown: every way
// to print or encode it gives "[redacted]"; only Reveal gives the characters.
// The zero Code is none.
type Code struct {
	text string
}

// newCode returns a code of 40 random bits.
func newCode() Code {
	var random [codeLength]byte
	rand.Read(random[:])
	for i, b := range random {
		random[i] = codeAlphabet[b%byte(len(codeAlphabet))] // 256 is a multiple of 32
	}
	return Code{string(random[:])}
}

// ParseCode reads a code as a person may write it: in any case, with hyphens or
// spaces in between, with O for 0 and I or L for 1. What cannot be a code is
// [ErrCode].
func ParseCode(text string) (Code, error) {
	code := make([]byte, 0, codeLength)
	for _, r := range text {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		switch {
		case r == ' ' || r == '-':
			continue
		case r == 'O':
			r = '0'
		case r == 'I' || r == 'L':
			r = '1'
		}
		if len(code) == codeLength || !strings.ContainsRune(codeAlphabet, r) {
			return Code{}, errCodeForm
		}
		code = append(code, byte(r))
	}
	if len(code) != codeLength {
		return Code{}, errCodeForm
	}
	return Code{string(code)}, nil
}

var errCodeForm = fmt.Errorf("%w: a code is %d digits and letters, without I, L, O and U", ErrCode, codeLength)

// Reveal returns the eight characters, or nothing for the zero Code.
func (c Code) Reveal() string { return c.text }

// IsZero reports whether there is no code.
func (c Code) IsZero() bool { return c.text == "" }

// equal compares in constant time. The zero Code equals nothing.
func (c Code) equal(other Code) bool {
	return subtle.ConstantTimeCompare([]byte(c.text), []byte(other.text)) == 1 && !c.IsZero()
}

const redacted = "[redacted]"

func (c Code) String() string { return redacted }

// Format keeps the characters out of every verb.
func (c Code) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText keeps the characters out of JSON and the like.
func (c Code) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue keeps the characters out of logs.
func (c Code) LogValue() slog.Value { return slog.StringValue(redacted) }

var (
	_ fmt.Formatter  = Code{}
	_ fmt.Stringer   = Code{}
	_ slog.LogValuer = Code{}
)
