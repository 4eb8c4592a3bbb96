// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// An adminAddress is where the admin listener is: an address of this machine alone,
// or a Unix socket of its owner alone.
type adminAddress struct{ network, addr string }

// parseAdmin reads the value of --admin.
func parseAdmin(s string) (adminAddress, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" {
			return adminAddress{}, usagef("invalid argument %q for --admin: the socket has no path", s)
		}
		return adminAddress{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return adminAddress{}, usagef("invalid argument %q for --admin: %w", s, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return adminAddress{}, usagef("invalid argument %q for --admin: it must be an address of this machine alone, such as 127.0.0.1:9464, or unix:PATH", s)
	}
	return adminAddress{"tcp", net.JoinHostPort(host, port)}, nil
}

// listen announces the address.
func (a adminAddress) listen(ctx context.Context) (net.Listener, error) {
	if a.network == "unix" {
		return listenPrivately(ctx, a.addr)
	}
	return new(net.ListenConfig).Listen(ctx, a.network, a.addr)
}

// adminURL is the address of a listener as a person would use it.
func adminURL(ln net.Listener) string {
	if s, ok := ln.(*privateSocket); ok {
		return "unix:" + s.path
	}
	return "http://" + ln.Addr().String()
}

// A privateSocket is a Unix socket that its owner alone can connect to.
type privateSocket struct {
	*net.UnixListener
	path string
}

// listenPrivately makes the socket in a folder that nobody else can enter, and moves
// it to its place when its mode is right. A socket that nobody listens on any more is
// replaced.
func listenPrivately(ctx context.Context, path string) (_ net.Listener, err error) {
	if err := vacant(ctx, path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".admin-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "s")
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", made)
	if err != nil {
		return nil, err
	}
	s := &privateSocket{ln.(*net.UnixListener), path}
	s.SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		s.UnixListener.Close()
		return nil, err
	}
	return s, nil
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

// Close also removes the socket.
func (s *privateSocket) Close() error {
	err := os.Remove(s.path)
	return errors.Join(s.UnixListener.Close(), err)
}
