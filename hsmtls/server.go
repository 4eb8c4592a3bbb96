// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"slices"
)

// ServerConfig returns a configuration that serves as the identity alias and
// demands a client certificate that Trust accepts, for servers that accept
// connections themselves. It negotiates no application protocol; use a
// [ListenConfig] for HTTP/2.
//
// The configuration may be cloned; its GetConfigForClient must stay. It cannot
// read the handshake, which takes the connection (see [ListenConfig]); instead
// it fails with [ErrWeakGODEBUG], here and in each handshake. The server that
// uses it must bound its handshakes, with [http.Server].ReadHeaderTimeout for
// one. The token is asked once per full handshake, for the signature. A
// certificate renewed under the alias is presented as [Provider.Refresh] says.
//
// Errors: [ErrIncomplete], [ErrOutOfRange], [ErrWeakGODEBUG].
func (p *Provider) ServerConfig(ctx context.Context, alias string) (*tls.Config, error) {
	live, err := p.present(ctx, alias)
	if err != nil {
		return nil, err
	}
	if err := checkGODEBUG(); err != nil {
		return nil, err
	}
	return p.newServer(live).config(), nil
}

// server is behind one server configuration. Its ticket keys are its own: no
// ticket is good for another configuration, whatever the policies are.
type server struct {
	p         *Provider
	live      *liveIdentity
	protos    []string
	strangers bool // accepts clients without a certificate
	tickets   *ticketKeys
}

func (p *Provider) newServer(live *liveIdentity) *server {
	return &server{p: p, live: live, tickets: newTicketKeys(p.sessionLifetime(), p.now)}
}

// config returns the outer configuration. It has no certificate, so that
// nothing works without its GetConfigForClient.
func (s *server) config() *tls.Config {
	cfg := s.p.serverConfig()
	cfg.NextProtos = s.protos
	cfg.GetConfigForClient = s.configForClient
	return cfg
}

// serverConfig returns the fields every server shares. ClientCAs stays empty:
// its subjects would be sent in every CertificateRequest, which fails beyond
// 64 KiB of them; VerifyConnection judges the client instead.
func (p *Provider) serverConfig() *tls.Config {
	cfg := p.baseConfig()
	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := p.verifyPeer(cs, "", x509.ExtKeyUsageClientAuth)
		return err
	}
	return cfg
}

// configForClient makes the configuration of one connection, before anything
// is signed for it.
func (s *server) configForClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	wire, guarded := hello.Conn.(*wireConn)
	if guarded {
		wire.observeEnd(hello.Context())
	} else if err := checkGODEBUG(); err != nil {
		return nil, err
	}
	if err := s.p.Policy.checkClientHello(hello); err != nil {
		return nil, err
	}
	c := s.newConn(hello)
	if guarded {
		wire.info = &c.info
		context.AfterFunc(hello.Context(), wire.handshakeOver)
	}
	return c.config()
}

// checkClientHello refuses a client that would speak TLS 1.2 without extended
// master secret.
func (p Policy) checkClientHello(hello *tls.ClientHelloInfo) error {
	if p.AllowTLS13 && slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
		return nil
	}
	return p.checkMasterSecret(slices.Contains(hello.Extensions, extExtendedMasterSecret))
}

// serverConn is one incoming connection.
type serverConn struct {
	*server
	id    *identity
	hello *tls.ClientHelloInfo
	gen   generation
	entry *admissionEntry
	info  handshakeInfo
}

func (s *server) newConn(hello *tls.ClientHelloInfo) *serverConn {
	id := s.live.now.Load()
	c := &serverConn{server: s, id: id, hello: hello, gen: s.p.generation(id)}
	c.entry = s.p.state().admission.entry(hello.Context(), source(hello.Conn), s.p.handshakeTimeout())
	c.info = handshakeInfo{now: s.p.now, alias: id.alias, mutual: true, born: s.p.now()}
	return c
}

func (c *serverConn) config() (*tls.Config, error) {
	cfg := c.p.serverConfig()
	cfg.NextProtos = c.protos
	cfg.VerifyConnection = c.verify
	if c.strangers {
		cfg.ClientAuth = tls.RequestClientCert
	}
	cert := c.id.cert
	cert.PrivateKey = c.p.bind(c.hello.Context(), c.id.alias, c.id.key, c.admit, c.signed)
	cfg.Certificates = []tls.Certificate{cert}
	if c.p.resumes() {
		cfg.SessionTicketsDisabled = false
		cfg.UnwrapSession, cfg.WrapSession = c.unwrap, c.wrap
		return cfg, nil
	}
	return cfg, c.admit() // without tickets every handshake is full
}

func (c *serverConn) verify(cs tls.ConnectionState) (err error) {
	if c.stranger(cs) {
		return nil
	}
	c.info.trust = c.p.trustGeneration()
	c.info.chain, err = c.p.verifyPeer(cs, "", x509.ExtKeyUsageClientAuth)
	if err != nil {
		c.refuse("client refused", err)
	}
	return err
}

// stranger reports whether the client presented no certificate and need not.
func (c *serverConn) stranger(cs tls.ConnectionState) bool {
	return c.strangers && len(cs.PeerCertificates) == 0
}

// admit takes the connection's place among those that may have something
// signed. crypto/tls flattens an error of the signer to text but passes one of
// UnwrapSession or GetConfigForClient on, hence the callers.
func (c *serverConn) admit() error {
	err := c.entry.admit()
	if err != nil {
		c.refuse("handshake shed", err)
	}
	return err
}

func (c *serverConn) signed(err error) {
	if err != nil {
		c.refuse("signature failed", err)
	}
}

func (c *serverConn) refuse(what string, err error) {
	if c.info.refused == nil {
		c.info.refused = err
		if wire, guarded := c.hello.Conn.(*wireConn); guarded {
			wire.refused.Store(&err)
		}
		c.p.logger().Warn(what, slog.String("alias", c.id.alias), slog.String("source", c.entry.source), slog.Any("error", err))
	}
}
