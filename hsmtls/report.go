// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"
)

// ConnReport says what a finished handshake agreed on.
type ConnReport struct {
	Version     uint16
	CipherSuite uint16
	// Curve is the group of the key exchange, that of the original handshake
	// if resumed.
	Curve tls.CurveID
	// ServerSignature and ClientSignature are the schemes of the handshake
	// signatures. Zero means none was seen: the session was resumed, or TLS 1.3
	// hid them.
	ServerSignature, ClientSignature tls.SignatureScheme
	// ExtendedMasterSecret tells whether RFC 7627 was in use; always false
	// under TLS 1.3, which has no need of it.
	ExtendedMasterSecret bool
	// Resumed tells whether the handshake was abbreviated.
	Resumed bool
	// HandshakeAge is the age of the original full handshake, by the
	// Provider's clock when the report was made.
	HandshakeAge time.Duration
	// Alias is the identity we presented, empty for none.
	Alias string
	// Peer is the peer's certificate. It, Chain and Entry are nil for a client
	// that was allowed to present none.
	Peer *x509.Certificate
	// Chain is the peer's chain as Trust accepted it, leaf first; its last
	// certificate is Entry, the one that made the peer trusted.
	Chain []*x509.Certificate
	Entry *x509.Certificate
}

// Report tells what the handshake of conn agreed on. conn comes from
// [Provider.Dial], a [Dialer] or a listener of this package. Report returns
// [ErrNoReport] for any other, and for one whose handshake has not succeeded; if
// we refused it, the error also wraps the reason.
func Report(conn net.Conn) (ConnReport, error) {
	outer, ok := conn.(*tls.Conn)
	if !ok {
		return ConnReport{}, ErrNoReport
	}
	wire, ok := outer.NetConn().(*wireConn)
	if !ok {
		return ConnReport{}, ErrNoReport
	}
	cs := outer.ConnectionState() // waits for a handshake under way
	if !cs.HandshakeComplete {
		return ConnReport{}, wire.noReport()
	}
	return wire.report(cs), nil
}

// noReport may be called while the handshake begins.
func (w *wireConn) noReport() error {
	if refused := w.refused.Load(); refused != nil {
		return errors.Join(ErrNoReport, *refused)
	}
	return ErrNoReport
}

func (w *wireConn) report(cs tls.ConnectionState) ConnReport {
	r := ConnReport{
		Version:              cs.Version,
		CipherSuite:          cs.CipherSuite,
		Curve:                cs.CurveID,
		ServerSignature:      w.guard.seen.serverSignature,
		ClientSignature:      w.guard.seen.clientSignature,
		ExtendedMasterSecret: w.guard.seen.extendedMasterSecret,
		Resumed:              cs.DidResume,
		HandshakeAge:         w.info.now().Sub(w.info.born),
		Alias:                w.info.alias,
		Chain:                w.info.chain,
	}
	if len(r.Chain) > 0 {
		r.Peer, r.Entry = r.Chain[0], r.Chain[len(r.Chain)-1]
	}
	return r
}
