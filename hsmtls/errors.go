// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/x509"
	"errors"
	"fmt"
)

var (
	// ErrIncomplete is returned by every entry point when the [Provider] has no
	// Keys or no Trust, when the alias is empty or unknown to Keys, or when
	// what Keys returned cannot sign. It then also wraps the error of Keys.
	ErrIncomplete = errors.New("hsmtls: incomplete")

	// ErrNotMutual is returned by Dial when the server completed a handshake
	// without asking for a client certificate. Its session is not kept.
	ErrNotMutual = errors.New("hsmtls: server did not ask for a client certificate")

	// ErrNoServerName is returned when there is no name to verify a server
	// against: no host in the address, or a bare [tls.Config] without a
	// ServerName or with an IP address as ServerName (crypto/tls does not tell
	// the verifier about addresses; use a [Dialer]).
	ErrNoServerName = errors.New("hsmtls: no server name to verify")

	// ErrOutOfRange is returned by every entry point when a duration or count
	// of the [Provider] is outside its documented bounds.
	ErrOutOfRange = errors.New("hsmtls: out of range")

	// ErrSignTimeout is returned by a client's handshake, and logged by a
	// server's, when the key did not sign within SignTimeout or before the
	// handshake's own deadline.
	ErrSignTimeout = errors.New("hsmtls: signature timed out")

	// ErrNotSigned is returned by Dial when the key failed to sign for another reason,
	// such as a token that is away. It then also wraps the error of the key. The server
	// is not to blame.
	ErrNotSigned = errors.New("hsmtls: key did not sign")

	// ErrHandshakeTimeout is returned by Dial, and by the first read of an
	// accepted connection, when the handshake took longer than HandshakeTimeout.
	ErrHandshakeTimeout = errors.New("hsmtls: handshake timed out")

	// ErrConnExpired is returned by Read on a connection that was closed because
	// it reached MaxConnAge or the number of bytes one AES-GCM key may protect.
	ErrConnExpired = errors.New("hsmtls: connection reached the end of its life")

	// ErrPlaintext is returned by a [Provider.Transport] that is asked for
	// anything but https to the origin itself: an http URL or a proxy.
	ErrPlaintext = errors.New("hsmtls: plaintext and proxied connections are refused")

	// ErrNoRoute is returned by a [Route] that knows no alias for a host.
	ErrNoRoute = errors.New("hsmtls: no alias for this host")

	// ErrNoReport is returned by [Report] for a connection that this package did
	// not make or whose handshake is not complete.
	ErrNoReport = errors.New("hsmtls: nothing to report")

	// ErrWeakGODEBUG is returned by [Provider.ClientConfig] and
	// [Provider.ServerConfig], and by every handshake of what they returned, while
	// a GODEBUG setting weakens crypto/tls or crypto/x509 beyond what a [tls.Config]
	// can forbid. It does not matter whether the setting comes from the environment, a
	// //go:debug line, go.mod or os.Setenv. Connections that the package makes
	// itself do not depend on such settings.
	ErrWeakGODEBUG = errors.New("hsmtls: GODEBUG weakens TLS")
)

// PolicyError says that a peer, or a certificate of our own, broke a rule of
// the TLS policy.
type PolicyError struct {
	// Rule is the rule that was broken.
	Rule Rule
	// Detail is what was seen, in words.
	Detail string
	// Certificate is the offending certificate, nil if the rule is not about one.
	Certificate *x509.Certificate
}

func (e *PolicyError) Error() string {
	if e.Certificate == nil {
		return fmt.Sprintf("hsmtls: %v: %s", e.Rule, e.Detail)
	}
	return fmt.Sprintf("hsmtls: %v: %s in certificate of %q", e.Rule, e.Detail, e.Certificate.Subject)
}
