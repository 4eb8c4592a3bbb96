// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
)

// The bounds of the profile.
const (
	minRSABits     = 2048
	maxRSABits     = 8192 // what crypto/tls accepts from a peer
	minRSAExponent = 65537
	maxSerialBits  = 159 // 20 bytes with a sign bit
	maxNames       = 64
	maxConstraints = 64
)

// The context-specific tag of keyIdentifier (RFC 5280 section 4.2.1.1).
const tagKeyID = 0

func isVersion3(c *x509.Certificate) bool { return c.Version == 3 }

func hasGoodSerial(c *x509.Certificate) bool {
	return c.SerialNumber != nil && c.SerialNumber.Sign() > 0 && c.SerialNumber.BitLen() <= maxSerialBits
}

func hasIssuer(c *x509.Certificate) bool { return len(c.Issuer.Names) > 0 }

func hasGoodTimes(c *x509.Certificate) bool {
	tbs, _ := children(c.RawTBSCertificate)
	if len(tbs) < 5 { // version, serial, signature, issuer, validity
		return false
	}
	validity, _ := children(tbs[4].FullBytes)
	return len(validity) == 2 && isGoodTime(validity[0]) && isGoodTime(validity[1])
}

// isGoodTime holds the lengths of YYMMDDHHMMSSZ and YYYYMMDDHHMMSSZ. That the
// rest is digits has been seen by the parser.
func isGoodTime(v asn1.RawValue) bool {
	switch {
	case v.Tag == asn1.TagUTCTime:
		return len(v.Bytes) == 13 && v.Bytes[12] == 'Z'
	case v.Tag == asn1.TagGeneralizedTime:
		return len(v.Bytes) == 15 && v.Bytes[14] == 'Z' && string(v.Bytes[:4]) >= "2050"
	}
	return false
}

func hasGoodSignature(c *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		return true
	}
	return false
}

func hasGoodKey(c *x509.Certificate) bool {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		return bits >= minRSABits && bits <= maxRSABits && bits%8 == 0 &&
			key.E >= minRSAExponent && key.E%2 == 1
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521()
	}
	return false
}

func hasNoWrongCritical(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if e.Critical && neverCritical[e.Id.String()] {
			return false
		}
	}
	return true
}

func hasAuthorityKeyID(c *x509.Certificate) bool { return len(c.AuthorityKeyId) > 0 }

func hasOnlyKeyID(c *x509.Certificate) bool {
	if !has(oidAuthorityKeyID)(c) {
		return true
	}
	fields, _ := list(c, oidAuthorityKeyID)
	return len(fields) == 1 && fields[0].Tag == tagKeyID
}
