// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package hsmtls turns a certificate alias on a token and a trust store into
// mutually authenticated TLS 1.2 as plain crypto/tls: a raw connection, a
// listener, an [http.Transport] or a bare [tls.Config].
//
// The package knows no device. It asks [Keys] for a certificate whose private
// key may live anywhere that implements [crypto.Signer], and [Trust] whether a
// peer's chain is accepted. A zero value never opens anything: without Keys,
// without Trust, without a server name or without a client certificate there
// is no connection.
//
// # What is guarded where
//
// [Provider.Dial], [Dialer], [Provider.Listen], [ListenConfig] and
// [Provider.Transport] own the network connection, so they also read the
// clear-text part of the handshake and refuse what crypto/tls lets through.
// [Provider.ClientConfig] and [Provider.ServerConfig] cannot: they refuse to
// work under a weak GODEBUG instead (see [ErrWeakGODEBUG]). Prefer the former.
package hsmtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Keys finds the certificate chain and the private key a certificate alias
// names. It must be safe for concurrent use.
//
// The returned certificate holds the chain, leaf first, and a PrivateKey that
// implements [crypto.Signer], and [crypto.MessageSigner] where the key can only
// sign whole messages. SupportedSignatureAlgorithms, if set, limits what the
// key is asked for. An unknown alias is an error, never an empty certificate.
//
// Certificate is called once per dial or configuration, and by [Provider.Refresh],
// before the network is touched and never inside a handshake; it should answer
// from memory. Keys that also have a method Watch(changed func()) (stop func())
// call changed when they may answer otherwise than before; new handshakes then
// present the new certificate.
//
// A private key that also has a method SignContext(ctx, digest, opts), and
// SignMessageContext(ctx, message, opts) if it signs whole messages, as a keystore.Key
// has, is asked by them: it must give up when ctx ends. Others are asked in a goroutine
// of their own, which is left behind when they do not answer in time.
type Keys interface {
	Certificate(ctx context.Context, alias string) (*tls.Certificate, error)
}

// Trust decides whether a peer's chain is accepted. It must be safe for
// concurrent use, answer from memory and have no side effects: it runs in
// every handshake, resumed ones included, before the peer has proved that it
// holds the leaf's key.
//
// chain holds what the peer sent, leaf first. name is the server name to match
// against the leaf's subject alternative names, empty for a client
// certificate. The result is the accepted chain from the leaf to the entry that
// made it trusted; an empty one is treated as a refusal.
//
// A Trust that also has a method Generation() uint64 tells by a new number that
// its content changed; sessions from before the change are then not resumed. One
// that has a method Watch(changed func()) (stop func()) calls changed then, and
// connections of peers it does not accept any more are closed: see
// [Provider.Recheck].
type Trust interface {
	Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error)
}

// Provider makes TLS connections from Keys and Trust. Its zero policy is the
// strict one. A Provider is safe for concurrent use; its fields must not be
// changed, and it must not be copied, after the first call.
type Provider struct {
	// Keys holds the identities. Required.
	Keys Keys
	// Trust judges peers. Required; the host's roots are never used.
	Trust Trust
	// Policy relaxes the TLS policy by name. Zero relaxes nothing.
	Policy Policy
	// VerifyPeer, if set, is asked after Trust has accepted the peer, on full
	// and on resumed handshakes, with VerifiedChains filled in. It can only
	// tighten: its error ends the handshake. It runs before the peer has proved
	// possession of its key, so it must not have side effects. [Provider.Recheck]
	// asks it too.
	VerifyPeer func(tls.ConnectionState) error
	// SessionLifetime bounds the age of the original full handshake when a
	// session is resumed. Zero means 10 minutes, negative means that nothing
	// is resumed, more than 24 hours is [ErrOutOfRange] (RFC 5246 appendix F.1.4).
	SessionLifetime time.Duration
	// Sessions is how many sessions with servers a client remembers. Zero means
	// 4096, negative is [ErrOutOfRange]. One takes about 3 KiB.
	Sessions int
	// HandshakeTimeout bounds a TLS handshake, from the established network
	// connection on. Zero means 15 seconds; negative is [ErrOutOfRange].
	HandshakeTimeout time.Duration
	// SignTimeout bounds one signature inside a handshake. Zero means 10
	// seconds; negative is [ErrOutOfRange].
	SignTimeout time.Duration
	// MaxConnAge closes a connection that old, because TLS 1.2 cannot renew its
	// keys. Zero means 24 hours; negative is [ErrOutOfRange]. Connections made
	// from a bare configuration are not covered.
	MaxConnAge time.Duration
	// ExpiryWarning is how long before the end of a certificate of its own a
	// Provider begins to warn, in the log, once a day, when it asks Keys. So it
	// does of what Trust holds, if that has a method LogExpiring(*slog.Logger,
	// time.Duration), as a truststore.Store has. Zero means 30 days, negative means
	// never.
	ExpiryWarning time.Duration
	// Admission bounds the signatures a server makes for strangers. Zero means
	// its defaults.
	Admission Admission
	// Now is the clock for certificates and sessions. Nil means [time.Now].
	Now func() time.Time
	// Logger receives a server's refusals: handshakes shed, signatures that
	// failed and clients not accepted. The latter had not yet proved who they
	// are. It also hears of certificates of our own that end soon or have been
	// switched. Nil means that nothing is logged.
	Logger *slog.Logger
	// Observer is told of each handshake and each signature. Nil means nobody is.
	Observer Observer

	once   sync.Once
	shared *shared
}

// shared is the state behind a Provider, made on first use.
type shared struct {
	sessions   *sessionStore
	signing    chan struct{} // one element per signature under way
	admission  *admission
	ownChains  sync.Map // alias string → *ownChain
	live       liveIdentities
	transports transports
	peers      peers
}

// maxSigning bounds the signatures under way, those abandoned by a timeout
// included: a module that hangs must not collect goroutines without end.
const maxSigning = 256

func (p *Provider) state() *shared {
	p.once.Do(func() {
		p.shared = &shared{
			sessions:  newSessionStore(p.maxSessions()),
			signing:   make(chan struct{}, maxSigning),
			admission: newAdmission(p.Admission),
		}
		p.watchKeys()
	})
	return p.shared
}

// Dial connects to addr, performs the handshake as the identity alias and
// returns the connection. The server is verified as the host part of addr; use
// a [Dialer] to verify another name.
//
// Errors include [ErrIncomplete] for a Provider or alias that cannot work,
// [ErrNotMutual] for a server that did not ask for a certificate,
// [*PolicyError] for one that broke the TLS policy, and
// [*tls.CertificateVerificationError] for one that is not trusted. The token
// signs once in a full handshake and not at all in a resumed one.
func (p *Provider) Dial(ctx context.Context, network, addr, alias string) (*tls.Conn, error) {
	d := Dialer{Provider: p, Alias: alias}
	return d.dial(ctx, network, addr)
}

// Listen announces addr and serves it as the identity alias. Every accepted
// connection is a [*tls.Conn] that demands a client certificate; see
// [ListenConfig] for its handshake and for ALPN.
func (p *Provider) Listen(ctx context.Context, network, addr, alias string) (net.Listener, error) {
	l := ListenConfig{Provider: p, Alias: alias}
	return l.Listen(ctx, network, addr)
}

// check reports what makes p unusable.
func (p *Provider) check() error {
	if p != nil && p.Keys == nil {
		return fmt.Errorf("%w: no keys", ErrIncomplete)
	}
	return p.checkAnonymous()
}

// checkAnonymous is check for a connection that presents no certificate.
func (p *Provider) checkAnonymous() error {
	switch {
	case p == nil:
		return fmt.Errorf("%w: no provider", ErrIncomplete)
	case p.Trust == nil:
		return fmt.Errorf("%w: no trust", ErrIncomplete)
	}
	return p.checkLimits()
}

func (p *Provider) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

func (p *Provider) logger() *slog.Logger {
	if p.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Logger
}
