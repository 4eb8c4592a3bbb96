// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
)

// ListenConfig accepts connections as one identity. Its fields must not be
// changed while it is in use.
type ListenConfig struct {
	// Provider supplies keys, trust and policy. Required.
	Provider *Provider
	// Alias names the certificate to present. Required.
	Alias string
	// NextProtos are the application protocols to accept, by preference (RFC
	// 7301). Nil negotiates none, which suits HTTP/1.1, WebSocket and raw
	// sockets; HTTP/2 wants {"h2", "http/1.1"}.
	NextProtos []string
	// AllowNoClientCertificate also accepts clients that present no
	// certificate, for enrolment: the application must treat them as strangers,
	// and [Provider].VerifyPeer is not asked about them. Their sessions are not
	// resumed. A certificate that is presented is verified as always.
	AllowNoClientCertificate bool
}

// Listen announces addr. Accept returns a [*tls.Conn] whose handshake runs on
// its first Read, Write or HandshakeContext; [http.Server].Serve and the like
// take it as they would one of [tls.Listen]. The wire guard reads along, the
// connection is closed after the Provider's HandshakeTimeout without a
// handshake and after its MaxConnAge in any case.
//
// A failed handshake yields [*PolicyError], [*ShedError],
// [*tls.CertificateVerificationError] or an error of crypto/tls. The token signs
// once per full handshake. A certificate renewed under the alias is presented
// as [Provider.Refresh] says.
func (l *ListenConfig) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	s, err := l.server(ctx)
	if err != nil {
		return nil, err
	}
	inner, err := new(net.ListenConfig).Listen(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &listener{Listener: inner, p: l.Provider, cfg: s.config(), alias: l.Alias}, nil
}

// NewListener serves TLS on the connections that inner accepts, as Listen does
// on those of its own.
func (l *ListenConfig) NewListener(ctx context.Context, inner net.Listener) (net.Listener, error) {
	s, err := l.server(ctx)
	if err != nil {
		return nil, err
	}
	return &listener{Listener: inner, p: l.Provider, cfg: s.config(), alias: l.Alias}, nil
}

func (l *ListenConfig) server(ctx context.Context) (*server, error) {
	live, err := l.Provider.present(ctx, l.Alias)
	if err != nil {
		return nil, err
	}
	s := l.Provider.newServer(live)
	s.protos, s.strangers = slices.Clone(l.NextProtos), l.AllowNoClientCertificate
	return s, nil
}

// listener hands out guarded connections.
type listener struct {
	net.Listener
	p     *Provider
	cfg   *tls.Config
	alias string
}

// Accept waits for a connection. It does not wait for its handshake.
func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	wire := newWireConn(raw, roleServer, l.p.Policy)
	conn := tls.Server(wire, l.cfg)
	wire.maxAge = l.p.maxConnAge()
	wire.observed = l.observing(wire, conn)
	wire.accepted = func() { l.p.keepPeer(wire, peer{conn, "", x509.ExtKeyUsageClientAuth}) }
	wire.expireAfter(l.p.handshakeTimeout(), ErrHandshakeTimeout, conn.Close)
	return conn, nil
}
