// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// Transport returns an HTTP/1.1 transport that reaches the terminals under their
// device names: https://SERIAL.SUFFIX/. The port of a URL is that of the
// terminal's address, or left out. The transport is also right for WebSocket
// libraries that take an [http.Client]. All else is as with
// [hsmtls.Provider.Transport]; errors wrap those of [Fleet.Dial].
func (f *Fleet) Transport() *http.Transport {
	t := f.Provider.Transport(nil)
	first := t.DialTLSContext // dials nothing, and has the Provider close idle connections when it switches
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, _ = first(ctx, network, addr)
		serial, err := f.serialOf(addr)
		if err != nil {
			return nil, err
		}
		return f.dial(ctx, serial, []string{"http/1.1"})
	}
	t.MaxIdleConns = 0 // a terminal keeps its connection, however many there are
	return t
}

// httpsPort is what a transport adds to a URL without a port.
const httpsPort = "443"

// serialOf finds the terminal that a URL means.
func (f *Fleet) serialOf(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	serial, ok := strings.CutSuffix(strings.ToLower(host), "."+strings.ToLower(f.Suffix))
	if !ok {
		return "", fmt.Errorf("%w: %s is no device name", ErrUnknown, host)
	}
	s, err := f.Status(serial)
	if err != nil {
		return "", err
	}
	if _, own, _ := net.SplitHostPort(s.Addr); port != httpsPort && port != own {
		return "", fmt.Errorf("%w: terminal %s has no port %s", ErrUnknown, serial, port)
	}
	return serial, nil
}
