// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
)

// Policy relaxes the TLS policy by name. The zero Policy relaxes nothing.
type Policy struct {
	// AllowTLS13 also offers and accepts TLS 1.3. The wire guard then steps
	// aside once TLS 1.3 is agreed, because everything after its ServerHello is
	// encrypted, so [Report] knows no signature schemes.
	AllowTLS13 bool
	// AllowNoExtendedMasterSecret accepts TLS 1.2 peers without the extended
	// master secret (RFC 7627). FIPS mode refuses them all the same.
	AllowNoExtendedMasterSecret bool
}

// cipherSuites is what remains of TLS 1.2 without MD5, SHA-1, RC4, 3DES, CBC
// and static RSA (RFC 9325 section 4.2).
var cipherSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// curves is what a key exchange may use (RFC 9325 section 4.2.1). FIPS mode
// leaves the NIST curves of it.
var curves = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}

// signatureSchemes is what a handshake may be signed with, by us or by the
// peer: no SHA-1 and no MD5 (RFC 9155 section 2).
var signatureSchemes = []tls.SignatureScheme{
	tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512,
	tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512,
	tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512,
}

// signatureHashes is the set of hashes behind signatureSchemes.
var signatureHashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// maxVersion returns the highest protocol version p allows.
func (p Policy) maxVersion() uint16 {
	if p.AllowTLS13 {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// baseConfig returns the part of a configuration that both roles share. Every
// field is explicit so that no GODEBUG default applies, and the pools are empty
// rather than nil so that nothing falls back to the host's roots.
func (p *Provider) baseConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		MaxVersion:             p.Policy.maxVersion(),
		CipherSuites:           append([]uint16(nil), cipherSuites...),
		CurvePreferences:       append([]tls.CurveID(nil), curves...),
		Renegotiation:          tls.RenegotiateNever,
		RootCAs:                x509.NewCertPool(),
		SessionTicketsDisabled: true,
		Time:                   p.now,
	}
}
