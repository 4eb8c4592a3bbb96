// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// Mode says which side of a tunnel is TLS. The zero Mode is none.
type Mode uint8

// The modes of a tunnel.
const (
	Server Mode = iota + 1 // accepts mutual TLS, forwards plain bytes
	Client                 // accepts plain bytes, dials mutual TLS
)

func (m Mode) String() string {
	switch m {
	case Server:
		return "server"
	case Client:
		return "client"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Config says what a [Tunnel] does. [Listen] keeps a copy of it.
type Config struct {
	// Mode is required.
	Mode Mode
	// Provider makes the TLS side. Required. Its HandshakeTimeout and MaxConnAge
	// are those of the tunnel. [Listen] adds Rules to its VerifyPeer and, for a
	// client, keeps the last good certificate of its Keys; so it must be this
	// tunnel's alone and not in use before.
	Provider *hsmtls.Provider
	// Alias names the certificate to present. Required.
	Alias string
	// ServerName is the name or IP address that the server must prove to a
	// client. Empty means the host of Target; a Unix socket has none.
	ServerName string
	// Listen and Target are addresses: "HOST:PORT", or "unix:PATH". Required.
	Listen, Target string
	// UnsafePlain lets the plain side, which is a server's Target and a client's
	// Listen, be something else than a Unix socket or a loopback address, and a
	// Unix socket of a client be open to others than its owner.
	UnsafePlain bool
	// Rules says which peers are accepted of those that the Provider trusts. The
	// zero Rules is [ErrNoRules] for a server without AllowAll; to a client it
	// means that the server's name is enough.
	Rules Rules
	// AllowAll has a server without Rules accept all that the Provider trusts.
	AllowAll bool
	// ProxyProtocol has a server begin each connection to Target with a header of
	// the PROXY protocol, version 2, that says who the client is.
	ProxyProtocol bool
	// MaxConns is how many connections may be open. More are closed as they come.
	// Zero means 1024, negative is [ErrConfig].
	MaxConns int
	// MaxPending is how many more may be in a server's handshake. Zero means
	// 256, negative is [ErrConfig].
	MaxPending int
	// ConnectTimeout bounds the connecting to Target, without TLS. Zero means 10
	// seconds, negative is [ErrConfig].
	ConnectTimeout time.Duration
	// IdleTimeout ends a connection on which no byte has moved in either
	// direction for that long. Zero means an hour, negative means never.
	IdleTimeout time.Duration
	// DrainTimeout is how long connections may go on at the end of Serve. Zero
	// means 30 seconds, negative not at all.
	DrainTimeout time.Duration
	// Logger gets a record of each connection when it has ended: who, from where,
	// how many bytes, how long and why. Never what was carried. Nil means that
	// nothing is logged.
	Logger *slog.Logger
}

// Check reports what [Listen] would refuse without asking the Provider or the
// network: [ErrConfig], [ErrPlain] or [ErrNoRules].
func (c Config) Check() error {
	listen, errListen := parseAddress(c.Listen)
	target, errTarget := parseAddress(c.Target)
	switch {
	case c.Mode != Server && c.Mode != Client:
		return incomplete("no mode")
	case errListen != nil:
		return errListen
	case errTarget != nil:
		return errTarget
	case c.Alias == "":
		return incomplete("no alias")
	}
	if err := c.checkLimits(); err != nil {
		return err
	}
	if err := c.Rules.check(); err != nil {
		return err
	}
	if c.Mode == Client {
		return c.checkClient(listen, target)
	}
	return c.checkServer(target)
}

func (c Config) checkClient(listen, target address) error {
	switch {
	case !c.UnsafePlain && !listen.private():
		return fmt.Errorf("%w: %s", ErrPlain, c.Listen)
	case c.ProxyProtocol:
		return incomplete("the PROXY protocol is for servers")
	case target.network == "unix" && c.ServerName == "":
		return incomplete("no server name for a Unix socket")
	}
	return nil
}

func (c Config) checkServer(target address) error {
	switch {
	case !c.UnsafePlain && !target.private():
		return fmt.Errorf("%w: %s", ErrPlain, c.Target)
	case c.Rules.empty() && !c.AllowAll:
		return ErrNoRules
	case !c.Rules.empty() && c.AllowAll:
		return incomplete("either rules or all are allowed")
	case c.ServerName != "":
		return incomplete("a server name is for clients")
	}
	return nil
}

func (c Config) checkLimits() error {
	switch {
	case c.MaxConns < 0:
		return incomplete("%d connections", c.MaxConns)
	case c.MaxPending < 0:
		return incomplete("%d pending connections", c.MaxPending)
	case c.ConnectTimeout < 0:
		return incomplete("connect timeout %v", c.ConnectTimeout)
	}
	return nil
}

func (c *Config) maxConns() int                 { return orDefault(c.MaxConns, 1024) }
func (c *Config) connectTimeout() time.Duration { return orDefault(c.ConnectTimeout, 10*time.Second) }
func (c *Config) idleTimeout() time.Duration    { return orDefault(c.IdleTimeout, time.Hour) }
func (c *Config) maxConnAge() time.Duration     { return orDefault(c.Provider.MaxConnAge, 24*time.Hour) }
func (c *Config) drainTimeout() time.Duration {
	return max(0, orDefault(c.DrainTimeout, 30*time.Second))
}

// maxPending lets a client, which has no handshake, take as many as may be open.
func (c *Config) maxPending() int {
	if c.Mode == Client {
		return c.maxConns()
	}
	return orDefault(c.MaxPending, 256)
}

func orDefault[T int | time.Duration](v, zero T) T {
	if v == 0 {
		return zero
	}
	return v
}
