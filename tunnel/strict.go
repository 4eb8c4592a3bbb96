// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"context"
	"fmt"
	"io"
	"net"
)

// errTruncated is how TLS ends that nobody has ended.
var errTruncated = fmt.Errorf("tunnel: TLS ended without close_notify: %w", io.ErrUnexpectedEOF)

// A strictConn is the network below TLS. crypto/tls takes its end for the end of the
// stream where a record ends too, although anybody on the network can cause that (RFC
// 5246 section 7.2.1). This one's end is an error.
type strictConn struct{ net.Conn }

func (c strictConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == io.EOF {
		err = errTruncated
	}
	return n, err
}

type strictListener struct{ net.Listener }

func (l strictListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return strictConn{conn}, nil
}

// dialRaw connects a client to its server, without TLS.
func (t *Tunnel) dialRaw(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := address{network, addr}.dial(ctx, t.cfg.connectTimeout(), false)
	if err != nil {
		return nil, err
	}
	return strictConn{conn}, nil
}
