// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

// A Data is a data object (CKO_DATA, PKCS#11 v2.40 section 4.5). Value is what
// the token holds, which anybody may have written if Private is false.
type Data struct {
	Object
	Label       string
	Application string
	Value       []byte
	Private     bool // readable only after login
}

// A DataTemplate is a data object to write. Label, Application and Value are
// required.
type DataTemplate struct {
	Label       string
	Application string
	Value       []byte
	Private     bool // wished for; given up where the token refuses it
}

// A DataFilter selects data objects. Empty fields match everything; fields that
// are set must all match exactly.
type DataFilter struct {
	Label       string
	Application string
}
