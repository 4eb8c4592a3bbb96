// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build !linux

package tunnel

import "syscall"

// ownersOnly can do nothing before the socket is there: elsewhere than on Linux the
// folder of the socket must keep others out.
func ownersOnly(string, string, syscall.RawConn) error { return nil }
