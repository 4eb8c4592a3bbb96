// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package unixsocket

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// somewhere is a path for a socket, which has to be short, in a folder of its own.
func somewhere(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "sock")
}

func listening(t *testing.T, path string, perm fs.FileMode) net.Listener {
	t.Helper()
	ln, err := Listen(t.Context(), path, perm)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Mode()
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestListen has both ends know the path, and nothing left in the end.
func TestListen(t *testing.T) {
	t.Parallel()
	path := somewhere(t)
	ln := listening(t, path, Owner)
	require.Equal(t, fs.ModeSocket|Owner, modeOf(t, path))
	require.Equal(t, []string{"sock"}, names(t, filepath.Dir(path)))
	require.Equal(t, "unix", ln.Addr().Network())
	require.Equal(t, path, ln.Addr().String())
	peer, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer peer.Close()
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, path, conn.LocalAddr().String())
	_, halfCloses := conn.(interface{ CloseWrite() error })
	require.True(t, halfCloses)
	require.NoError(t, ln.Close())
	require.Empty(t, names(t, filepath.Dir(path)))
	_, err = ln.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

// TestModeOfUmask compares with a socket that was made without a mode.
func TestModeOfUmask(t *testing.T) {
	t.Parallel()
	path := somewhere(t)
	plain, err := net.Listen("unix", path+"0")
	require.NoError(t, err)
	defer plain.Close()
	listening(t, path, 0)
	require.Equal(t, modeOf(t, path+"0"), modeOf(t, path))
}

// TestReplacesWhatIsLeft replaces the socket of a process that has ended, and nothing
// else.
func TestReplacesWhatIsLeft(t *testing.T) {
	t.Parallel()
	path := somewhere(t)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	_, err = Listen(t.Context(), path, Owner)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	left.SetUnlinkOnClose(false)
	require.NoError(t, left.Close())
	ln := listening(t, path, Owner)
	require.Equal(t, fs.ModeSocket|Owner, modeOf(t, path))
	_, err = Listen(t.Context(), path, Owner)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, ln.Close())

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = Listen(t.Context(), path, Owner)
	require.ErrorIs(t, err, fs.ErrExist)
	require.Equal(t, []string{"sock"}, names(t, filepath.Dir(path)))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
}

// TestCloseLeavesTheNext removes nothing that is not its own.
func TestCloseLeavesTheNext(t *testing.T) {
	t.Parallel()
	path := somewhere(t)
	ln := listening(t, path, Owner)
	require.NoError(t, os.Remove(path))
	next := listening(t, path, Owner)
	require.NoError(t, ln.Close())
	require.FileExists(t, path)
	require.NoError(t, next.Close())
	require.NoFileExists(t, path)

	again := listening(t, path, Owner)
	require.ErrorIs(t, next.Close(), net.ErrClosed)
	require.FileExists(t, path)
	require.NoError(t, again.Close())
}

// TestListenFails leaves nothing behind.
func TestListenFails(t *testing.T) {
	t.Parallel()
	path := somewhere(t)
	for _, bad := range []string{"", "@abstract", "a\x00b"} {
		_, err := Listen(t.Context(), bad, Owner)
		require.ErrorIs(t, err, ErrPath, bad)
	}
	_, err := Listen(t.Context(), filepath.Join(filepath.Dir(path), "none", "sock"), Owner)
	require.ErrorIs(t, err, fs.ErrNotExist)
	long := filepath.Dir(path)
	for len(long) < 100 {
		long = filepath.Join(long, "folder")
	}
	require.NoError(t, os.MkdirAll(long, 0o700))
	_, err = Listen(t.Context(), filepath.Join(long, "sock"), Owner)
	require.ErrorIs(t, err, syscall.EINVAL)
	require.Empty(t, names(t, long))
}
