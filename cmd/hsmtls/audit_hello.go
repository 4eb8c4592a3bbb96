// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
)

// Record and handshake types (RFC 5246 sections 6.2.1 and 7.4).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22

	msgServerHello        = 2
	msgNewSessionTicket   = 4 // RFC 5077 section 3.3
	msgCertificate        = 11
	msgServerKeyExchange  = 12
	msgCertificateRequest = 13
	msgServerHelloDone    = 14
)

// Extensions of a hello.
const (
	extServerName           = 0
	extSupportedGroups      = 10
	extPointFormats         = 11
	extSignatureAlgorithms  = 13
	extExtendedMasterSecret = 23
	extSupportedVersions    = 43
	extKeyShare             = 51
	extRenegotiationInfo    = 0xff01
)

// An offer is a ClientHello. The zero offer says nothing a server could accept.
type offer struct {
	version uint16 // the highest one
	suites  []uint16
	groups  []uint16
	schemes []uint16 // none: the extension is left out, which means SHA-1
	deflate bool     // offers compression
	bare    bool     // leaves out renegotiation_info and extended_master_secret
	name    string   // of the server, empty for none
}

// marshal returns the offer as one record. A ClientHello for TLS 1.3 comes with
// no key share, so that a server that speaks it asks for one (RFC 8446 section
// 4.2.8), and for SSL 3.0 without extensions.
func (o offer) marshal() []byte {
	hello := u16(nil, min(o.version, tls.VersionTLS12))
	var random [32]byte
	rand.Read(random[:])
	hello = append(hello, random[:]...)
	hello = append(hello, 0) // no session
	hello = append(hello, vector16(u16(nil, o.suites...))...)
	if o.deflate {
		hello = append(hello, 2, 1, 0)
	} else {
		hello = append(hello, 1, 0)
	}
	if o.version > versionSSL30 {
		hello = append(hello, vector16(o.extensions())...)
	}
	message := append([]byte{1, 0}, vector16(hello)...) // its length has 24 bits
	record := u16([]byte{recordHandshake}, min(o.version, tls.VersionTLS10))
	return append(record, vector16(message)...)
}

func (o offer) extensions() (all []byte) {
	add := func(id uint16, body []byte) { all = append(u16(all, id), vector16(body)...) }
	if o.name != "" {
		add(extServerName, vector16(append([]byte{0}, vector16([]byte(o.name))...)))
	}
	add(extSupportedGroups, vector16(u16(nil, o.groups...)))
	add(extPointFormats, []byte{1, 0})
	if len(o.schemes) > 0 {
		add(extSignatureAlgorithms, vector16(u16(nil, o.schemes...)))
	}
	if !o.bare {
		add(extExtendedMasterSecret, nil)
		add(extRenegotiationInfo, []byte{0})
	}
	if o.version == tls.VersionTLS13 {
		add(extSupportedVersions, append([]byte{2}, u16(nil, tls.VersionTLS13)...))
		add(extKeyShare, vector16(nil))
	}
	return all
}

func u16(b []byte, values ...uint16) []byte {
	for _, v := range values {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func vector16(body []byte) []byte { return append(u16(nil, uint16(len(body))), body...) }

// A flight is what a server says in the clear before it waits for the client,
// and before it encrypts.
type flight struct {
	hello                bool // there was a ServerHello
	version, suite       uint16
	compression          byte
	extendedMasterSecret bool
	renegotiationInfo    bool

	chain     [][]byte // DER, leaf first
	signed    bool     // with scheme
	scheme    uint16
	requested bool // a certificate of the client

	ticket   bool   // one was issued
	lifetime uint32 // its hint in seconds, 0 if the server does not say
	complete bool   // the server has said all of it
	alerted  bool
	alert    byte
}

// read takes in what it can of b, which begins with a record, and stops at what
// it does not understand.
func (f *flight) read(b []byte) {
	var messages []byte
	for len(b) >= 5 {
		size := 5 + int(binary.BigEndian.Uint16(b[3:]))
		if len(b) < size {
			break
		}
		switch body := b[5:size]; {
		case b[0] == recordHandshake:
			messages = append(messages, body...)
		case b[0] == recordAlert && len(body) == 2:
			f.alerted, f.alert = true, body[1]
		}
		if b[0] != recordHandshake {
			break
		}
		b = b[size:]
	}
	for len(messages) >= 4 {
		size := 4 + int(messages[1])<<16 + int(binary.BigEndian.Uint16(messages[2:]))
		if len(messages) < size {
			return
		}
		f.message(messages[0], &parser{rest: messages[4:size]})
		messages = messages[size:]
	}
}

func (f *flight) message(typ byte, p *parser) {
	switch typ {
	case msgServerHello:
		f.serverHello(p)
	case msgCertificate:
		f.chain = nil
		for list := p.vector(3); len(list.rest) > 0 && !list.failed; {
			f.chain = append(f.chain, list.vector(3).rest)
		}
	case msgServerKeyExchange:
		f.serverKeyExchange(p)
	case msgCertificateRequest:
		f.requested = true
	case msgServerHelloDone:
		f.complete = true
	case msgNewSessionTicket:
		f.lifetime = uint32(p.number(4))
		f.ticket = len(p.vector(2).rest) > 0
	}
}

func (f *flight) serverHello(p *parser) {
	f.version = uint16(p.number(2))
	p.take(32)
	p.vector(1)
	f.suite, f.compression = uint16(p.number(2)), byte(p.number(1))
	f.hello = !p.failed
	for list := p.vector(2); len(list.rest) > 0 && !list.failed; {
		id, body := list.number(2), list.vector(2)
		switch id {
		case extExtendedMasterSecret:
			f.extendedMasterSecret = true
		case extRenegotiationInfo:
			f.renegotiationInfo = true
		case extSupportedVersions:
			f.version = uint16(body.number(2))
		}
	}
	f.complete = f.version == tls.VersionTLS13 // the rest is encrypted
}

// serverKeyExchange reads the scheme of an ECDHE key exchange (RFC 8422 section
// 5.4), which TLS 1.2 was the first to name.
func (f *flight) serverKeyExchange(p *parser) {
	if f.version != tls.VersionTLS12 || !isECDHE(f.suite) {
		return
	}
	p.take(3) // named curve
	p.vector(1)
	f.scheme = uint16(p.number(2))
	f.signed = !p.failed
}

func isECDHE(suite uint16) bool { return suite>>8 == 0xc0 || suite>>8 == 0xcc }

// A parser takes from the front of rest. Once that fails it returns zeros.
type parser struct {
	rest   []byte
	failed bool
}

func (p *parser) take(n int) []byte {
	if p.failed || n > len(p.rest) {
		p.failed, p.rest = true, nil
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) number(size int) (n uint64) {
	for _, b := range p.take(size) {
		n = n<<8 | uint64(b)
	}
	return n
}

// vector takes a vector whose length has that many bytes.
func (p *parser) vector(size int) *parser {
	b := p.take(int(p.number(size)))
	return &parser{rest: b, failed: p.failed}
}
