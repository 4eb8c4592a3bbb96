// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package unixsocket listens on Unix sockets that nobody can connect to too early, and
// that nobody has to clear away.
package unixsocket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Owner is the mode of a socket that its owner alone can connect to.
const Owner fs.FileMode = 0o600

// ErrPath is returned by [Check], and by [Listen], for what is no path of a socket.
var ErrPath = errors.New("no path of a Unix socket")

// Check looks at a path without reaching for it. An abstract socket (@) is refused: it
// has no owner and no mode.
func Check(path string) error {
	if path == "" || path[0] == '@' || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%w: %q", ErrPath, path)
	}
	return nil
}

// Listen announces a socket at path. Zero for perm leaves it the mode that the umask
// says. A socket that nobody listens on any more is replaced, and Close removes the
// socket, unless something else has taken its place.
//
// The socket is made in a folder of its own beside path, which nobody else can enter, and
// moved to path when its mode is right: nobody gets in before, and whoever sees it can
// connect. The folder of path may be 90 bytes long; some systems allow little more.
//
// Errors are [ErrPath], [fs.ErrExist] for something that is no socket,
// [syscall.EADDRINUSE] for a socket in use, and those of the file system.
func Listen(ctx context.Context, path string, perm fs.FileMode) (net.Listener, error) {
	if err := Check(path); err != nil {
		return nil, err
	}
	if err := vacant(ctx, path); err != nil {
		return nil, err
	}
	l, err := listen(ctx, path, perm)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return l, nil
}

func listen(ctx context.Context, path string, perm fs.FileMode) (*listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	bound, err := new(net.ListenConfig).Listen(ctx, "unix", made)
	if err != nil {
		return nil, err
	}
	l := &listener{UnixListener: bound.(*net.UnixListener), addr: &net.UnixAddr{Name: path, Net: "unix"}}
	l.SetUnlinkOnClose(false)
	if err := l.place(made, perm); err != nil {
		l.UnixListener.Close()
		return nil, err
	}
	return l, nil
}

// vacant returns an error if something is in use at the path, or is no socket.
func vacant(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is no socket: %w", path, fs.ErrExist)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return fmt.Errorf("%s is in use by another process: %w", path, syscall.EADDRINUSE)
}

// A listener is known by the path that its socket was moved to.
type listener struct {
	*net.UnixListener
	addr *net.UnixAddr
	made fs.FileInfo
	once sync.Once
}

func (l *listener) place(made string, perm fs.FileMode) (err error) {
	if perm != 0 {
		if err := os.Chmod(made, perm); err != nil {
			return err
		}
	}
	if l.made, err = os.Lstat(made); err != nil {
		return err
	}
	return os.Rename(made, l.addr.Name)
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return &conn{c, l.addr}, nil
}

// Close also removes the socket, first, so that nobody finds one that does not answer.
func (l *listener) Close() error {
	l.once.Do(func() {
		if info, err := os.Lstat(l.addr.Name); err == nil && os.SameFile(info, l.made) {
			_ = os.Remove(l.addr.Name) // what is left is replaced by the next
		}
	})
	return l.UnixListener.Close()
}

// A conn does not tell where its socket was made.
type conn struct {
	*net.UnixConn
	addr *net.UnixAddr
}

func (c *conn) LocalAddr() net.Addr { return c.addr }
