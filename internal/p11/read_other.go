// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && !unix

package p11

import "github.com/miekg/pkcs11"

func (v session) readInto(h pkcs11.ObjectHandle, types, _ []uint) (attributes, error) {
	return v.read(h, types...)
}
