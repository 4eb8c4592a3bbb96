// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"errors"

	"github.com/miekg/pkcs11"
)

// wrap makes an error of this package out of one of miekg/pkcs11's. What holds no
// PKCS#11 code passes unchanged.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var code pkcs11.Error
	if errors.As(err, &code) {
		return &Error{Op: op, Code: uint(code)}
	}
	return err
}

// codeOf returns the CKR_ value in err, or zero (CKR_OK) if there is none.
func codeOf(err error) uint {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}
