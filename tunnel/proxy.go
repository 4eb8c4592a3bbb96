// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
)

// The PROXY protocol, version 2: the binary header of sections 2.2 to 2.2.5 of its
// specification ("The PROXY protocol, Versions 1 & 2", haproxy.org).
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyCommand   = 0x21 // version 2, PROXY

	proxyTCP4 = 0x11
	proxyTCP6 = 0x21
	proxyUnix = 0x31

	proxyUnixPath = 108 // bytes of sun_path

	typeSSL        = 0x20
	typeSSLVersion = 0x21
	typeSSLCN      = 0x22
	typeSSLCipher  = 0x23

	sslClient = 0x01 // the client came over TLS
	sslConn   = 0x02 // it presented a certificate on this connection
	sslSess   = 0x04 // it presented a certificate in this session
)

// proxyHeader says whence and to where a client came, and who it has proved to be.
func proxyHeader(conn *tls.Conn) []byte {
	family, body := proxyAddresses(conn.RemoteAddr(), conn.LocalAddr())
	body = appendSSL(body, conn.ConnectionState())
	header := append([]byte(proxySignature), proxyCommand, family)
	header = binary.BigEndian.AppendUint16(header, uint16(len(body)))
	return append(header, body...)
}

// proxyAddresses returns the family and the addresses. If one is IPv6, both are
// given as such.
func proxyAddresses(source, destination net.Addr) (family byte, body []byte) {
	from, okFrom := source.(*net.TCPAddr)
	to, okTo := destination.(*net.TCPAddr)
	if !okFrom || !okTo {
		body = appendPath(nil, source)
		return proxyUnix, appendPath(body, destination)
	}
	a, b := from.AddrPort(), to.AddrPort()
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	family = proxyTCP4
	if !x.Is4() || !y.Is4() {
		family, x, y = proxyTCP6, netip.AddrFrom16(x.As16()), netip.AddrFrom16(y.As16())
	}
	body = append(x.AsSlice(), y.AsSlice()...)
	body = binary.BigEndian.AppendUint16(body, a.Port())
	return family, binary.BigEndian.AppendUint16(body, b.Port())
}

// appendPath appends a path, cut or filled with zeros. A client seldom has one.
func appendPath(body []byte, addr net.Addr) []byte {
	var path [proxyUnixPath]byte
	if named, ok := addr.(*net.UnixAddr); ok && named.Name != "@" {
		copy(path[:], named.Name)
	}
	return append(body, path[:]...)
}

// maxName is the longest common name that is passed on. RFC 5280 appendix A.1 allows
// 64 characters; a part of a name would be another name, which is what a zero byte makes
// of it for a target in C.
const maxName = 256

// appendSSL appends PP2_TYPE_SSL. Verify is zero: nobody gets here whose
// certificate was not accepted.
func appendSSL(body []byte, cs tls.ConnectionState) []byte {
	flags := byte(sslClient)
	if len(cs.PeerCertificates) > 0 {
		flags |= sslSess
		if !cs.DidResume {
			flags |= sslConn
		}
	}
	value := []byte{flags, 0, 0, 0, 0}
	value = appendTLV(value, typeSSLVersion, tlsVersion(cs.Version))
	if len(cs.PeerCertificates) > 0 {
		if name := commonName(cs.PeerCertificates[0]); name != "" && len(name) <= maxName && !strings.Contains(name, "\x00") {
			value = appendTLV(value, typeSSLCN, name)
		}
	}
	value = appendTLV(value, typeSSLCipher, tls.CipherSuiteName(cs.CipherSuite))
	return appendTLV(body, typeSSL, string(value))
}

// tlsVersion is the name that OpenSSL's SSL_get_version gives it, as the
// specification wants.
func tlsVersion(v uint16) string {
	if v == tls.VersionTLS13 {
		return "TLSv1.3"
	}
	return "TLSv1.2"
}

func appendTLV(body []byte, kind byte, value string) []byte {
	body = append(body, kind)
	body = binary.BigEndian.AppendUint16(body, uint16(len(value)))
	return append(body, value...)
}
