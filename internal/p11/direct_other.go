// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && !unix

package p11

import "github.com/miekg/pkcs11"

func (v session) signInit(m ckMechanism, key pkcs11.ObjectHandle) error {
	var parameters any
	if m.salt > 0 {
		parameters = pkcs11.NewPSSParams(m.hash, m.mgf, m.salt)
	}
	mechanism := pkcs11.NewMechanism(uint(m.mechanism), parameters)
	return wrap("C_SignInit", v.raw.SignInit(v.handle, []*pkcs11.Mechanism{mechanism}, key))
}

func (v session) signature(input []byte, _ int) ([]byte, error) {
	sig, err := v.raw.Sign(v.handle, input)
	return sig, wrap("C_Sign", err)
}
