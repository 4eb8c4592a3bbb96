// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// ClientConfig returns a configuration that presents the identity alias and
// verifies servers against Trust, for libraries that dial themselves. Set its
// ServerName, or leave that to [tls.Dial] or [http.Transport]; it must be a DNS
// name. NextProtos is empty: add "http/1.1", never "h2", for a WebSocket.
//
// The configuration may be cloned. It does not resume sessions, and it cannot
// see whether a server asked for the certificate, nor read the handshake: that
// takes the connection, see [Dialer]. Instead it fails with [ErrWeakGODEBUG], here
// and in each handshake. The token is asked once per handshake, for the
// signature. A certificate renewed under the alias is presented as
// [Provider.Refresh] says.
//
// Errors: [ErrIncomplete], [ErrOutOfRange], [ErrWeakGODEBUG].
func (p *Provider) ClientConfig(ctx context.Context, alias string) (*tls.Config, error) {
	live, err := p.present(ctx, alias)
	if err != nil {
		return nil, err
	}
	if err := checkGODEBUG(); err != nil {
		return nil, err
	}
	return (&bareClient{p, live}).config(), nil
}

// clientConfig returns the fields of a configuration that every client shares.
// InsecureSkipVerify hands verification to VerifyConnection as a whole; should
// someone clear it, the empty RootCAs refuses every server.
func (p *Provider) clientConfig() *tls.Config {
	cfg := p.baseConfig()
	cfg.InsecureSkipVerify = true
	return cfg
}

// bareClient is behind a configuration that outlives one connection.
type bareClient struct {
	p    *Provider
	live *liveIdentity
}

func (b *bareClient) config() *tls.Config {
	cfg := b.p.clientConfig()
	cfg.VerifyConnection = b.verify
	cfg.GetClientCertificate = b.certificate
	return cfg
}

func (b *bareClient) verify(cs tls.ConnectionState) error {
	if err := checkGODEBUG(); err != nil {
		return err
	}
	if cs.ServerName == "" {
		return ErrNoServerName
	}
	_, err := b.p.verifyPeer(cs, cs.ServerName, x509.ExtKeyUsageServerAuth)
	return err
}

func (b *bareClient) certificate(cri *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return b.p.clientCertificate(cri, b.live.now.Load(), nil)
}

// clientCertificate answers a server's request. It returns an error rather than
// an empty certificate, which would make the handshake one-sided.
func (p *Provider) clientCertificate(cri *tls.CertificateRequestInfo, id *identity, signed func(error)) (*tls.Certificate, error) {
	cert := id.cert
	if err := cri.SupportsCertificate(&cert); err != nil {
		return nil, fmt.Errorf("hsmtls: alias %q: %w", id.alias, err)
	}
	cert.PrivateKey = p.bind(cri.Context(), id.alias, id.key, nil, signed)
	return &cert, nil
}

// clientConn is one outgoing connection.
type clientConn struct {
	p    *Provider
	id   *identity // nil to present none
	name string
	sess *clientSession // nil to resume nothing
	info handshakeInfo
}

func (p *Provider) newClientConn(id *identity, name, addr string) *clientConn {
	c := &clientConn{p: p, id: id, name: name}
	c.info.now = p.now
	if id == nil {
		return c
	}
	c.info.alias = id.alias
	if p.resumes() {
		key := sessionKey{addr: addr, name: name, alias: id.alias, gen: p.generation(id)}
		c.sess = &clientSession{store: p.state().sessions, key: key, now: p.now, lifetime: p.sessionLifetime(), info: &c.info}
	}
	return c
}

func (c *clientConn) config(protos []string) *tls.Config {
	cfg := c.p.clientConfig()
	cfg.ServerName = c.name
	cfg.NextProtos = protos
	cfg.VerifyConnection = c.verify
	cfg.GetClientCertificate = c.certificate
	if c.sess != nil {
		cfg.SessionTicketsDisabled = false
		cfg.ClientSessionCache = c.sess
	}
	return cfg
}

func (c *clientConn) verify(cs tls.ConnectionState) error {
	c.info.trust = c.p.trustGeneration()
	chain, err := c.p.verifyPeer(cs, c.name, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	c.info.chain, c.info.born = chain, c.p.now()
	if cs.DidResume {
		c.info.born, c.info.mutual = c.sess.offered, true // only mutual sessions are kept
	}
	return nil
}

func (c *clientConn) certificate(cri *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if c.id == nil {
		return new(tls.Certificate), nil // presents none
	}
	c.info.mutual = true
	return c.p.clientCertificate(cri, c.id, func(err error) { c.info.refused = err })
}

// handshakeInfo is what the callbacks of one handshake learn. It is written by
// the handshake's goroutine and read once the handshake is complete.
type handshakeInfo struct {
	now     func() time.Time
	alias   string
	mutual  bool                // both sides presented a certificate
	born    time.Time           // of the original full handshake
	chain   []*x509.Certificate // as accepted by Trust, leaf first; nil for a stranger
	trust   uint64              // the generation of Trust that accepted it
	refused error               // why a server refused or a client's key did not sign, where crypto/tls may lose it
}
