// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/unixsocket"
)

// An address is one of package net.
type address struct{ network, addr string }

func parseAddress(s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if err := unixsocket.Check(path); err != nil {
			return address{}, incomplete("%v", err)
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
	case a.network == "unix" && private:
		return unixsocket.Listen(ctx, a.addr, unixsocket.Owner)
	case a.network == "unix":
		return unixsocket.Listen(ctx, a.addr, 0)
	case private:
		cfg.Control = loopbackOnly
	}
	return cfg.Listen(ctx, a.network, a.addr)
}

// from says where a connection comes from, in words.
func from(conn net.Conn) string {
	if conn.LocalAddr().Network() == "unix" {
		return "unix:" + conn.LocalAddr().String()
	}
	return conn.RemoteAddr().String()
}
