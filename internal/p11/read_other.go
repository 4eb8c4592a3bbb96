// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && !unix

package p11

import "github.com/miekg/pkcs11"

// readInto is that of read_direct.go, with one call more.
func (l linked) readInto(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, types, _ []uint) (attributes, error) {
	return session{raw: l, handle: s}.read(o, types...)
}
