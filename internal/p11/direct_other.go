// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && !unix

package p11

import "github.com/miekg/pkcs11"

// signature is that of direct.go, with one call more. Whether the token waited is
// not known here, and taken for granted.
func (v session) signature(m ckMechanism, key pkcs11.ObjectHandle, begun bool, input []byte, _ int) (sig []byte, waited bool, err error) {
	if !begun {
		if err := v.signInit(m, key); err != nil {
			return nil, false, err
		}
	}
	sig, err = v.raw.Sign(v.handle, input)
	return sig, true, wrap("C_Sign", err)
}
