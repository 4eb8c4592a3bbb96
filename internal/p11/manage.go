// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

// An InitRequest is a token to initialise.
type InitRequest struct {
	Module string
	Host   string // as in [Config]

	// Select names the token. The zero Selector stands for the first one that
	// is not initialised yet.
	Select Selector

	Label      string // at most 32 bytes
	SOPIN, PIN []byte

	// Wipe allows a token that is initialised already, with everything on it,
	// to be wiped. It takes the present security officer's PIN.
	Wipe bool
}

// A PINRequest is a user PIN to be set anew by the security officer.
type PINRequest struct {
	Module string
	Host   string // as in [Config]
	Select Selector
	SOPIN  []byte
	NewPIN []byte
}
