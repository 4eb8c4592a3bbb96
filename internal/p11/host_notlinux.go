// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && unix && !linux

package p11

import "syscall"

func hostAttributes() *syscall.SysProcAttr { return nil }

func undumpable() error { return nil }
