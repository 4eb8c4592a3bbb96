// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/hsmtls/hsmtls-go/internal/unixsocket"
)

// An adminAddress is where the admin listener is: an address of this machine alone,
// or a Unix socket of its owner alone.
type adminAddress struct{ network, addr string }

// parseAdmin reads the value of --admin.
func parseAdmin(s string) (adminAddress, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if err := unixsocket.Check(path); err != nil {
			return adminAddress{}, usagef("invalid argument %q for --admin: %w", s, err)
		}
		return adminAddress{"unix", path}, nil
	}
	addr, err := parseLoopback("admin", s)
	return adminAddress{"tcp", addr}, err
}

// parseLoopback reads the value of a flag that is an address of this machine alone.
func parseLoopback(flag, s string) (addr string, err error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", usagef("invalid argument %q for --%s: %w", s, flag, err)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return "", usagef("invalid argument %q for --%s: it must be an address of this machine alone, such as 127.0.0.1:9464", s, flag)
	}
	return net.JoinHostPort(host, port), nil
}

// listen announces the address.
func (a adminAddress) listen(ctx context.Context) (net.Listener, error) {
	if a.network == "unix" {
		return unixsocket.Listen(ctx, a.addr, unixsocket.Owner)
	}
	return new(net.ListenConfig).Listen(ctx, a.network, a.addr)
}

// adminURL is the address of a listener as a person would use it.
func adminURL(ln net.Listener) string {
	if ln.Addr().Network() == "unix" {
		return "unix:" + ln.Addr().String()
	}
	return "http://" + ln.Addr().String()
}
