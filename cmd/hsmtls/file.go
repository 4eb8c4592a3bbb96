// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// replaceFile replaces a file in one step, so that a full disk leaves the old one as it
// is, or makes it. What is neither, such as a pipe, a device or a link, is written to.
func replaceFile(path string, data []byte) error {
	there, err := os.Lstat(path)
	mode := fs.FileMode(0o644) // less the umask
	switch {
	case err == nil && !there.Mode().IsRegular():
		return os.WriteFile(path, data, mode)
	case err == nil:
		mode = there.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	beside := filepath.Join(filepath.Dir(path), ".hsmtls-"+rand.Text())
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if there != nil {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, fill(f, data)); err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, errors.Join(err, os.Remove(beside)))
	}
	return nil
}

// fill writes, flushes to the disk and closes.
func fill(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
