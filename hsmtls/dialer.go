// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Dialer dials servers as one identity. Its fields must not be changed while
// it is in use; it is then safe for concurrent use.
type Dialer struct {
	// Provider supplies keys, trust and policy. Required.
	Provider *Provider
	// Alias names the certificate to present. Required, unless
	// NoClientCertificate is set.
	Alias string
	// NoClientCertificate presents no certificate: for enrolment with a server
	// that accepts strangers. Alias must be empty, Keys of the Provider may be
	// nil. The server is verified as always; its session is not kept.
	NoClientCertificate bool
	// ServerName is the name or IP address the server must prove, which may
	// differ from the address dialled. Empty means the host of the address.
	ServerName string
	// NextProtos offers application protocols (RFC 7301). Nil offers none, which
	// is right for a raw socket; a WebSocket wants {"http/1.1"}, never "h2".
	NextProtos []string
	// NetDial opens the network connection. Nil means a [net.Dialer] bounded by
	// the Provider's HandshakeTimeout.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// DialContext connects and performs the handshake. The connection is a
// [*tls.Conn], so DialContext fits [http.Transport].DialTLSContext and the
// like; errors are those of [Provider.Dial]. The context bounds connecting and
// handshake; it does not affect the returned connection.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err // a nil *tls.Conn must not become a non-nil net.Conn
	}
	return conn, nil
}

func (d *Dialer) dial(ctx context.Context, network, addr string) (*tls.Conn, error) {
	id, err := d.identity(ctx)
	if err != nil {
		return nil, err
	}
	name, err := d.serverName(addr)
	if err != nil {
		return nil, err
	}
	raw, err := d.netDial()(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := d.Provider.newClientConn(id, name, addr)
	began := time.Now()
	conn, err := c.handshake(ctx, raw, d.NextProtos)
	d.observeDial(raw, name, began, conn, err)
	if err != nil {
		return nil, fmt.Errorf("hsmtls: dial %s as %q: %w", addr, d.Alias, err)
	}
	return conn, nil
}

// identity returns what to present, nil for nothing.
func (d *Dialer) identity(ctx context.Context) (*identity, error) {
	if !d.NoClientCertificate {
		return d.Provider.identity(ctx, d.Alias)
	}
	if d.Alias != "" {
		return nil, fmt.Errorf("%w: alias %q for a dialer without certificate", ErrIncomplete, d.Alias)
	}
	return nil, d.Provider.checkAnonymous()
}

func (d *Dialer) netDial() func(context.Context, string, string) (net.Conn, error) {
	if d.NetDial != nil {
		return d.NetDial
	}
	return (&net.Dialer{Timeout: d.Provider.handshakeTimeout()}).DialContext
}

// serverName returns the name to verify. A zone is local to this machine and
// never part of a certificate (RFC 4007 section 11).
func (d *Dialer) serverName(addr string) (string, error) {
	name := d.ServerName
	if name == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrNoServerName, err)
		}
		name = host
	}
	if name, _, _ = strings.Cut(name, "%"); name == "" {
		return "", fmt.Errorf("%w: address %q", ErrNoServerName, addr)
	}
	return name, nil
}

// handshake runs TLS over raw, which it closes on failure.
func (c *clientConn) handshake(ctx context.Context, raw net.Conn, protos []string) (*tls.Conn, error) {
	limited, cancel := context.WithTimeoutCause(ctx, c.p.handshakeTimeout(), ErrHandshakeTimeout)
	defer cancel()
	wire := newWireConn(raw, roleClient, c.p.Policy)
	wire.info = &c.info
	conn := tls.Client(wire, c.config(protos))
	if err := conn.HandshakeContext(limited); err != nil {
		wire.Close()
		return nil, c.info.unsigned(limited, handshakeCause(limited, err))
	}
	if c.id != nil && !c.info.mutual {
		conn.Close()
		return nil, ErrNotMutual
	}
	wire.expireAfter(c.p.maxConnAge(), ErrConnExpired, conn.Close)
	c.p.keepPeer(wire, peer{conn, c.name, x509.ExtKeyUsageServerAuth})
	return conn, nil
}

// handshakeCause names the Provider's own timeout, which crypto/tls reports as
// a plain deadline.
func handshakeCause(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(context.Cause(ctx), ErrHandshakeTimeout) {
		return fmt.Errorf("%w: %w", ErrHandshakeTimeout, err)
	}
	return err
}

// unsigned names the key as the reason, where that is so and err does not say it:
// crypto/tls reports a deadline alone, and under TLS 1.3 no more than the text.
func (i *handshakeInfo) unsigned(ctx context.Context, err error) error {
	var broken *PolicyError // the server has asked for a signature that we refuse
	switch {
	case i.refused == nil || errors.As(i.refused, &broken) || errors.Is(err, ErrSignTimeout):
		return err
	case errors.Is(i.refused, ErrSignTimeout):
		return fmt.Errorf("%w: %w", ErrSignTimeout, err)
	case ctx.Err() != nil:
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotSigned, i.refused)
}
