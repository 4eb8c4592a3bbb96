// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package alias holds the names that certificate objects have on a token:
// which labels a user may choose, and which labels and ids this module chooses
// itself. Keystore and truststore share one token, so they share these.
package alias

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxLen is the length of the longest alias, in bytes.
const MaxLen = 64

// What [Check] finds wrong with an alias.
var (
	ErrEmpty       = errors.New("alias is empty")
	ErrTooLong     = errors.New("alias is longer than 64 bytes")
	ErrUnprintable = errors.New("alias has a character that cannot be printed")
	ErrSpace       = errors.New("alias begins or ends with a space")
	ErrReserved    = errors.New("alias begins with \"issuer \" or \"anchor \", which are kept for what this module names itself")
)

// Check reports why s cannot be an alias, or nil. An alias is 1 to 64 bytes of
// printable UTF-8; the space U+0020 is its only white space and stands neither
// first nor last. Labels that begin with "issuer " belong to [IssuerLabel] and
// [TrustIssuerLabel], those with "anchor " to [AnchorLabel].
func Check(s string) error {
	switch {
	case s == "":
		return ErrEmpty
	case len(s) > MaxLen:
		return ErrTooLong
	case !printable(s):
		return ErrUnprintable
	case strings.TrimSpace(s) != s:
		return ErrSpace
	case strings.HasPrefix(s, reserved), strings.HasPrefix(s, reservedForAnchors):
		return ErrReserved
	}
	return nil
}

// printable refuses invalid UTF-8 too, so that a label reads the same in every
// tool and cannot steer a terminal it is shown on.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
