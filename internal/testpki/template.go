// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package testpki

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"strings"
	"time"
	"unicode"
)

// ServerTemplate returns what [CA.Server] issues, for a caller who wants to
// change something or has a key already. No names means "localhost".
func ServerTemplate(names ...string) *x509.Certificate {
	if len(names) == 0 {
		names = []string{"localhost"}
	}
	t := leafTemplate(names[0], x509.ExtKeyUsageServerAuth)
	addNames(t, names...)
	return t
}

// ClientTemplate returns what [CA.Client] issues.
func ClientTemplate(name string) *x509.Certificate {
	t := leafTemplate(name, x509.ExtKeyUsageClientAuth)
	addNames(t, hostFor(name))
	return t
}

func leafTemplate(name string, usage x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{"hsmtls test"}},
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
}

// complete fills the zero fields of t.
func complete(t *x509.Certificate, pub crypto.PublicKey) {
	if t.SerialNumber == nil {
		t.SerialNumber = serial()
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().Add(leafLife)
	}
	if len(t.SubjectKeyId) == 0 {
		t.SubjectKeyId = keyID(pub)
	}
	if t.KeyUsage == 0 {
		t.KeyUsage = x509.KeyUsageDigitalSignature
		if t.IsCA {
			t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		}
	}
}

// serial returns 127 random bits, which is positive and within the 20 bytes of
// RFC 5280 section 4.1.2.2.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// keyID is method 1 of RFC 7093 section 2: no SHA-1, so it works in FIPS mode.
func keyID(pub crypto.PublicKey) []byte {
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	must(asn1.Unmarshal(must(x509.MarshalPKIXPublicKey(pub)), &spki))
	sum := sha256.Sum256(spki.Key.Bytes)
	return sum[:20]
}

func addNames(t *x509.Certificate, names ...string) {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
}

// hostFor makes a DNS name of any name: letters, digits and dots stay, the rest
// becomes a hyphen, and a name of one label gets the suffix of RFC 6761
// section 6.2.
func hostFor(name string) string {
	if net.ParseIP(name) != nil {
		return name
	}
	host := strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '.') {
			return r
		}
		return '-'
	}, name)
	host = strings.Trim(host, "-.")
	if host == "" {
		host = "unnamed"
	}
	if !strings.Contains(host, ".") {
		host += ".test"
	}
	return host
}
