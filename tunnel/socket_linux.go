// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import "syscall"

// ownersOnly is a Control of package net that has a Unix socket made with mode
// 0600, so that nobody else gets in before a chmod (unix(7)).
func ownersOnly(_, _ string, raw syscall.RawConn) (err error) {
	failed := raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) })
	if failed != nil {
		return failed
	}
	return err
}
