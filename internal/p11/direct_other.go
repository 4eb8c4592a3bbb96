// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && !unix

package p11

import "github.com/miekg/pkcs11"

// sign is that of direct.go, with one call more. Whether the token waited is not
// known here, and taken for granted.
func (l linked) sign(s pkcs11.SessionHandle, o order) (sig []byte, waited bool, err error) {
	if !o.Begun {
		if err := (session{raw: l, handle: s}).signInit(o.Mechanism, o.Key); err != nil {
			return nil, false, err
		}
	}
	sig, err = l.Sign(s, o.Input)
	return sig, true, wrap("C_Sign", err)
}

// separate is that of direct.go. Here it is not known, and not taken for granted.
func separate(string) bool { return false }
