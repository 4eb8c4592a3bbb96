// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// names are the files in a folder.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestReplaceFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	require.NoError(t, replaceFile(path, []byte("first")))
	reader, err := os.Open(path)
	require.NoError(t, err)
	defer reader.Close()
	require.NoError(t, os.Chmod(path, 0o640))
	require.NoError(t, replaceFile(path, []byte("second, longer")))
	old := make([]byte, 20)
	n, _ := reader.Read(old)
	require.Equal(t, "first", string(old[:n]), "who reads has the old file, whole")
	require.Equal(t, "second, longer", text(t, path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	require.Equal(t, []string{"out"}, names(t, dir))
}

// TestReplaceFileKeepsLinks is about what is no regular file.
func TestReplaceFileKeepsLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("target", link))
	require.NoError(t, replaceFile(link, []byte("through")))
	require.Equal(t, "through", text(t, filepath.Join(dir, "target")))
	require.NoError(t, replaceFile(os.DevNull, []byte("gone")))
	require.Equal(t, []string{"link", "target"}, names(t, dir))
}

// TestReplaceFileFails holds that nothing is left beside what could not be replaced.
func TestReplaceFileFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.ErrorIs(t, replaceFile(filepath.Join(dir, "nowhere", "out"), nil), os.ErrNotExist)
	require.Error(t, replaceFile(dir, nil))
	require.Empty(t, names(t, dir))
}
