// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// openFlags follow no link, and do not wait for the other end of a pipe.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// noLink names the reason of an error that is about a link.
func noLink(path string, err error) error {
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) { // the latter on FreeBSD
		return fmt.Errorf("%w: %s is a symbolic link", errAuditFile, path)
	}
	return err
}

func writableByOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }

// checkOwner refuses a file of somebody else, and one that has another name.
func checkOwner(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return fmt.Errorf("%w: the owner of %s is not known", errAuditFile, path)
	case int(stat.Uid) != os.Geteuid() && stat.Uid != 0:
		return fmt.Errorf("%w: %s belongs to user %d", errAuditFile, path, stat.Uid)
	case stat.Nlink > 1:
		return fmt.Errorf("%w: %s has another name, a hard link", errAuditFile, path)
	}
	return nil
}
