// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import "crypto/tls"

// Handshake message types (RFC 5246 section 7.4).
const (
	msgClientHello       = 1
	msgServerHello       = 2
	msgCertificate       = 11
	msgServerKeyExchange = 12
	msgCertificateVerify = 15
)

// Extensions and signalling values that the guard looks for.
const (
	extExtendedMasterSecret = 23     // RFC 7627 section 5.1
	extSupportedVersions    = 43     // RFC 8446 section 4.2.1
	extRenegotiationInfo    = 0xff01 // RFC 5746 section 3.2

	namedCurve = 3 // ECCurveType, RFC 8422 section 5.4
	randomSize = 32
)

// judged reports whether the guard needs the body of a message.
func judged(typ uint8) bool {
	switch typ {
	case msgClientHello, msgServerHello, msgServerKeyExchange, msgCertificateVerify:
		return true
	}
	return false
}

// clientHello is what the guard needs of a ClientHello (RFC 5246 section 7.4.1.2).
type clientHello struct {
	version              uint16
	versions             []uint16 // supported_versions, nil if absent
	extendedMasterSecret bool
}

// offers reports whether the client is ready to speak version v.
func (h clientHello) offers(v uint16) bool {
	if h.versions == nil {
		return v <= tls.VersionTLS12 && h.version >= v
	}
	for _, offered := range h.versions {
		if offered == v {
			return true
		}
	}
	return false
}

func parseClientHello(body []byte) (h clientHello, ok bool) {
	r := reader{rest: body}
	h.version = r.u16()
	r.take(randomSize)
	r.vector8()  // session id
	r.vector16() // cipher suites
	r.vector8()  // compression methods
	ok = r.extensions(func(id uint16, data reader) bool {
		switch id {
		case extExtendedMasterSecret:
			h.extendedMasterSecret = true
		case extSupportedVersions:
			list := data.vector8()
			h.versions = list.u16s()
			return h.versions != nil
		}
		return true
	})
	return h, ok
}

// serverHello is what the guard needs of a ServerHello (RFC 5246 section 7.4.1.3).
type serverHello struct {
	version              uint16 // supported_versions if present
	suite                uint16
	compression          uint8
	extendedMasterSecret bool
	renegotiationInfo    bool
}

func parseServerHello(body []byte) (h serverHello, ok bool) {
	r := reader{rest: body}
	h.version = r.u16()
	r.take(randomSize)
	r.vector8() // session id
	h.suite = r.u16()
	h.compression = r.u8()
	ok = r.extensions(func(id uint16, data reader) bool {
		switch id {
		case extExtendedMasterSecret:
			h.extendedMasterSecret = true
		case extRenegotiationInfo:
			h.renegotiationInfo = true
		case extSupportedVersions:
			h.version = data.u16()
			return data.finished()
		}
		return true
	})
	return h, ok
}

// serverKeyExchange is what the guard needs of an ECDHE ServerKeyExchange (RFC
// 8422 section 5.4).
type serverKeyExchange struct {
	curveType uint8
	curve     tls.CurveID
	scheme    tls.SignatureScheme
}

func parseServerKeyExchange(body []byte) (kx serverKeyExchange, ok bool) {
	r := reader{rest: body}
	if kx.curveType = r.u8(); kx.curveType != namedCurve {
		return kx, !r.failed // the rest is of another shape
	}
	kx.curve = tls.CurveID(r.u16())
	r.vector8() // point
	kx.scheme = tls.SignatureScheme(r.u16())
	r.vector16() // signature
	return kx, r.finished()
}

// parseCertificateVerify returns the scheme of a CertificateVerify (RFC 5246
// section 7.4.8).
func parseCertificateVerify(body []byte) (scheme tls.SignatureScheme, ok bool) {
	r := reader{rest: body}
	scheme = tls.SignatureScheme(r.u16())
	r.vector16() // signature
	return scheme, r.finished()
}
