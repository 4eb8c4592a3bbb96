// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"fmt"
	"slices"
)

// guard reads along while crypto/tls performs a TLS 1.2 handshake and refuses
// what crypto/tls has no setting for, or whose setting GODEBUG overrides. All of
// it is sent in the clear before ChangeCipherSpec; from there on, or once TLS
// 1.3 is agreed, the guard steps aside.
//
// The same rules hold for both directions, whichever side is ours.
type guard struct {
	policy         Policy
	client, server stream // what the client sent, what the server sent
	seen           seen
	refusal        error // sticky
}

// seen is what the guard saw. Zero means not seen: a resumed handshake carries
// no signatures.
type seen struct {
	clientHello, serverHello bool
	serverCertificate        bool
	serverKeyExchange        bool
	extendedMasterSecret     bool
	curve                    tls.CurveID
	serverSignature          tls.SignatureScheme // of ServerKeyExchange
	clientSignature          tls.SignatureScheme // of CertificateVerify
}

func newGuard(policy Policy) *guard {
	g := &guard{policy: policy}
	g.client.message, g.client.changed = g.fromClient, g.clientChanged
	g.server.message, g.server.changed = g.fromServer, g.serverChanged
	return g
}

// inspect reads b, the next bytes of s. Once it has refused, it refuses all.
func (g *guard) inspect(s *stream, b []byte) error {
	if g.refusal == nil {
		g.refusal = s.feed(b)
	}
	return g.refusal
}

// fromClient judges a handshake message of the client.
func (g *guard) fromClient(typ uint8, body []byte) error {
	switch {
	case typ == msgClientHello:
		return g.clientHello(body)
	case !g.seen.clientHello:
		return malformed("message before the ClientHello")
	case typ == msgCertificateVerify:
		return g.certificateVerify(body)
	}
	return nil
}

// fromServer judges a handshake message of the server.
func (g *guard) fromServer(typ uint8, body []byte) error {
	switch typ {
	case msgServerHello:
		return g.serverHello(body)
	case msgCertificate:
		g.seen.serverCertificate = true
	case msgServerKeyExchange:
		return g.serverKeyExchange(body)
	}
	return nil
}

func (g *guard) clientHello(body []byte) error {
	hello, ok := parseClientHello(body)
	if !ok || g.seen.clientHello {
		return malformed("ClientHello")
	}
	g.seen.clientHello = true
	switch {
	case g.policy.AllowTLS13 && hello.offers(tls.VersionTLS13):
		return nil // judged by the ServerHello
	case !hello.offers(tls.VersionTLS12):
		return &PolicyError{Rule: RuleVersion, Detail: "client does not offer TLS 1.2"}
	}
	return g.policy.checkMasterSecret(hello.extendedMasterSecret)
}

func (g *guard) serverHello(body []byte) error {
	hello, ok := parseServerHello(body)
	if !ok || g.seen.serverHello {
		return malformed("ServerHello")
	}
	g.seen.serverHello = true
	g.seen.extendedMasterSecret = hello.extendedMasterSecret
	if hello.version == tls.VersionTLS13 && g.policy.AllowTLS13 {
		g.client.done, g.server.done = true, true
		return nil
	}
	return g.checkServerHello(hello)
}

func (g *guard) checkServerHello(hello serverHello) error {
	switch {
	case hello.version != tls.VersionTLS12:
		return &PolicyError{Rule: RuleVersion, Detail: tls.VersionName(hello.version)}
	case !slices.Contains(cipherSuites, hello.suite):
		return &PolicyError{Rule: RuleCipherSuite, Detail: tls.CipherSuiteName(hello.suite)}
	case hello.compression != 0:
		return &PolicyError{Rule: RuleCompression, Detail: fmt.Sprintf("method %d", hello.compression)}
	case !hello.renegotiationInfo:
		return &PolicyError{Rule: RuleRenegotiation, Detail: "server does not acknowledge renegotiation_info"}
	}
	return g.policy.checkMasterSecret(hello.extendedMasterSecret)
}

// checkMasterSecret refuses a TLS 1.2 peer without extended master secret.
func (p Policy) checkMasterSecret(extended bool) error {
	if extended || p.AllowNoExtendedMasterSecret {
		return nil
	}
	return &PolicyError{Rule: RuleExtendedMasterSecret, Detail: "peer does not support it"}
}

func (g *guard) serverKeyExchange(body []byte) error {
	kx, ok := parseServerKeyExchange(body)
	switch {
	case !ok || g.seen.serverKeyExchange:
		return malformed("ServerKeyExchange")
	case kx.curveType != namedCurve:
		return &PolicyError{Rule: RuleKeyExchange, Detail: fmt.Sprintf("curve type %d", kx.curveType)}
	case !slices.Contains(curves, kx.curve):
		return &PolicyError{Rule: RuleKeyExchange, Detail: kx.curve.String()}
	}
	g.seen.serverKeyExchange, g.seen.curve, g.seen.serverSignature = true, kx.curve, kx.scheme
	return checkScheme(kx.scheme, "server")
}

func (g *guard) certificateVerify(body []byte) error {
	scheme, ok := parseCertificateVerify(body)
	if !ok || g.seen.clientSignature != 0 {
		return malformed("CertificateVerify")
	}
	g.seen.clientSignature = scheme
	return checkScheme(scheme, "client")
}

func checkScheme(scheme tls.SignatureScheme, who string) error {
	if slices.Contains(signatureSchemes, scheme) {
		return nil
	}
	return &PolicyError{Rule: RuleSignature, Detail: fmt.Sprintf("%s signed with %v", who, scheme)}
}

// clientChanged judges the client's ChangeCipherSpec.
func (g *guard) clientChanged() error {
	if !g.seen.clientHello || !g.seen.serverHello {
		return malformed("ChangeCipherSpec before the hellos")
	}
	return nil
}

// serverChanged judges the server's ChangeCipherSpec: a full handshake, told by
// the server's certificate, must have had an ephemeral key exchange.
func (g *guard) serverChanged() error {
	if err := g.clientChanged(); err != nil {
		return err
	}
	if g.seen.serverCertificate && !g.seen.serverKeyExchange {
		return &PolicyError{Rule: RuleKeyExchange, Detail: "no ServerKeyExchange"}
	}
	return nil
}

func malformed(what string) error {
	return &PolicyError{Rule: RuleRecord, Detail: what}
}
