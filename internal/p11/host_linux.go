// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import "syscall"

// hostAttributes have the kernel end the host with this process, also one that is
// stopped and does not see its socket close.
func hostAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// undumpable keeps the memory of this process, in which the module has the PIN,
// from debuggers and core dumps (prctl(2), PR_SET_DUMPABLE).
func undumpable() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
