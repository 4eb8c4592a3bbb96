// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"syscall"
	"time"
	"unsafe"
)

// clockMonotonic is CLOCK_MONOTONIC, see clock_gettime(2).
const clockMonotonic = 1

// monotonic is the clock that a service manager compares reloads by. Package time keeps
// it to itself.
func monotonic() time.Duration {
	var now syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0) // does not fail for this clock
	return time.Duration(now.Nano())
}
