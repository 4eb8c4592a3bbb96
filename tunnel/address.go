// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// An address is one of package net.
type address struct{ network, addr string }

func parseAddress(s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		// Abstract sockets (@) have no owner and no permissions.
		if path == "" || path[0] == '@' || strings.ContainsRune(path, 0) {
			return address{}, incomplete("%q is no path of a Unix socket", s)
		}
		return address{"unix", path}, nil
	}
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return address{}, incomplete("%q is neither HOST:PORT nor unix:PATH", s)
	}
	return address{"tcp", s}, nil
}

// private reports whether the address cannot be reached from other machines. What
// localhost is is looked at again when it has been resolved.
func (a address) private() bool {
	host, _, _ := net.SplitHostPort(a.addr)
	return a.network == "unix" || host == "localhost" || isLoopback(host)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// loopbackOnly is a Control of package net.
func loopbackOnly(_, addr string, _ syscall.RawConn) error {
	if host, _, err := net.SplitHostPort(addr); err != nil || !isLoopback(host) {
		return fmt.Errorf("%w: %s", ErrPlain, addr)
	}
	return nil
}

// dial connects; private means that the address must not be one of the network.
func (a address) dial(ctx context.Context, timeout time.Duration, private bool) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout}
	if private && a.network != "unix" {
		d.Control = loopbackOnly
	}
	return d.DialContext(ctx, a.network, a.addr)
}

// listen announces the address. Where it is private, nobody from the network and
// no other user can connect to it. A Unix socket that nobody listens on any more
// is replaced.
func (a address) listen(ctx context.Context, private bool) (net.Listener, error) {
	var cfg net.ListenConfig
	switch {
	case private && a.network == "unix":
		cfg.Control = ownersOnly
	case private:
		cfg.Control = loopbackOnly
	}
	ln, err := cfg.Listen(ctx, a.network, a.addr)
	if a.network != "unix" {
		return ln, err
	}
	if errors.Is(err, syscall.EADDRINUSE) && a.abandoned() && os.Remove(a.addr) == nil {
		ln, err = cfg.Listen(ctx, a.network, a.addr)
	}
	if err != nil || !private {
		return ln, err
	}
	if err := os.Chmod(a.addr, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// abandoned reports whether the path is a socket of a process that has ended.
func (a address) abandoned() bool {
	info, err := os.Lstat(a.addr)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := net.Dial("unix", a.addr)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// from says where a connection comes from, in words.
func from(conn net.Conn) string {
	if conn.LocalAddr().Network() == "unix" {
		return "unix:" + conn.LocalAddr().String()
	}
	return conn.RemoteAddr().String()
}
