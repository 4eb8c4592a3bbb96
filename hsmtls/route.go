// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"fmt"
	"maps"
	"net"
	"strings"
)

// Route names the certificate alias to present to a server, by its address as
// "host:port". It must always give the same answer for the same address, since
// [http.Transport] pools connections by address alone; to use two identities with
// one server, use two transports. It must be safe for concurrent use.
type Route func(addr string) (alias string, err error)

// Alias returns a [Route] that presents one identity to every server.
func Alias(alias string) Route {
	return func(string) (string, error) { return alias, nil }
}

// ByHost returns a [Route] by table. A key is a host, or host:port for one port
// of it, in any case; the latter wins. A server that is not in the table is
// refused with [ErrNoRoute]. The table is copied.
func ByHost(aliases map[string]string) Route {
	table := make(map[string]string, len(aliases))
	for host, alias := range maps.All(aliases) {
		table[strings.ToLower(host)] = alias
	}
	return func(addr string) (string, error) {
		addr = strings.ToLower(addr)
		if alias, ok := table[addr]; ok {
			return alias, nil
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrNoRoute, err)
		}
		if alias, ok := table[host]; ok {
			return alias, nil
		}
		return "", fmt.Errorf("%w: %s", ErrNoRoute, addr)
	}
}
