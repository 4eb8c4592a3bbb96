// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// errAuditFile is a file or a folder that others could change the audit log through.
var errAuditFile = errors.New("audit log is not safe there")

// An auditFile takes records, each a line with one write. A record that cannot be written
// is not lost: it goes to whoever is warned, and the next one tries the file again. The
// service goes on meanwhile. It stays open until the process ends: a handshake may come to
// its end late. It is safe for concurrent use.
type auditFile struct {
	path string
	warn func(format string, args ...any)

	mu      sync.Mutex
	file    *os.File
	torn    bool // the last line has no end
	failing bool // the last write did not succeed
	lost    uint64
}

func openAuditFile(path string, warn func(format string, args ...any)) (*auditFile, error) {
	file, err := openSafely(path)
	if err != nil {
		return nil, err
	}
	return &auditFile{path: path, warn: warn, file: file, torn: isTorn(file)}, nil
}

// openSafely appends to path, or begins it for its owner's eyes. It refuses what is not a
// file, is reached through a link, belongs to somebody else, can be written by others, or
// lies where others may put another in its place.
func openSafely(path string) (_ *os.File, err error) {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if dir.Mode()&fs.ModeSticky == 0 && dir.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("%w: everybody can write to the folder of %s", errAuditFile, path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|openFlags, 0o600)
	if err != nil {
		return nil, noLink(path, err)
	}
	if err := checkAuditFile(path, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkAuditFile(path string, f *os.File) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a file", errAuditFile, path)
	case writableByOthers(info):
		return fmt.Errorf("%w: others can write to %s, which has mode %04o", errAuditFile, path, info.Mode().Perm())
	}
	return checkOwner(path, info)
}

// isTorn reports whether the last line of a file has no end, which a full disk or a crash may
// have taken.
func isTorn(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// Write takes one record. It always succeeds: there is nobody to tell but the operator.
func (f *auditFile) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.append(line)
	if err != nil {
		f.lost++
		f.warn("record is not in the audit log: %s", bytes.TrimSpace(line))
	}
	if err != nil && !f.failing {
		f.warn("audit log cannot be written: %v", err)
	}
	if err == nil && f.failing {
		f.warn("audit log can be written again; records so far that are not in it: %d", f.lost)
	}
	f.failing = err != nil
	return len(line), nil
}

// append makes sure that each line is whole, or broken off and followed by another.
func (f *auditFile) append(line []byte) error {
	if f.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := f.file.Write(line)
	if n > 0 {
		f.torn = n < len(line)
	}
	return err
}

// reopen follows the path to another file. If that cannot be opened, the old one stays.
func (f *auditFile) reopen() error {
	file, err := openSafely(f.path)
	if err != nil {
		f.warn("audit log cannot be opened again, the old file stays: %v", err)
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.file.Close()
	f.file, f.torn = file, isTorn(file)
	return nil
}

// missing is how many records are not in the file.
func (f *auditFile) missing() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}
