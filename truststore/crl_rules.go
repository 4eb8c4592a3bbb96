// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
)

// MaxCRLSize is how long a CRL may be, in bytes: some hundred thousand revoked
// certificates. What a token takes as one object may be less.
const MaxCRLSize = 8 << 20

// What can be wrong with a CRL beside a [*RuleError]. They come inside a
// [*CRLError].
var (
	// ErrDelta marks a delta CRL (RFC 5280 section 5.2.4): only complete ones are
	// taken.
	ErrDelta = errors.New("delta CRL")

	// ErrIndirect marks a CRL that revokes certificates of other issuers (RFC 5280
	// section 5.2.5 and 5.3.3).
	ErrIndirect = errors.New("indirect CRL")

	// ErrPartial marks a CRL with an issuing distribution point (RFC 5280 section
	// 5.2.5): it is about some of its issuer's certificates or reasons only, and
	// what it does not list may be revoked all the same.
	ErrPartial = errors.New("CRL is about a part of its issuer's certificates")

	// ErrTooLarge marks a CRL of more than [MaxCRLSize] bytes.
	ErrTooLarge = errors.New("CRL is larger than 8 MiB")

	errCRLTrailing = errors.New("something behind the CRL")
	errCRLMissing  = errors.New("CRL is missing")
)

// The extensions of CRLs and their entries (RFC 5280 section 5.2 and 5.3).
var (
	oidCRLNumber         = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidReasonCode        = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidDeltaIndicator    = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidCertificateIssuer = asn1.ObjectIdentifier{2, 5, 29, 29}
)

// The tag of indirectCRL in an issuing distribution point (RFC 5280 section 5.2.5).
const tagIndirectCRL = 4

// reasonRemoveFromCRL stands in delta CRLs only (RFC 5280 section 5.3.1).
const reasonRemoveFromCRL = 8

// A crlRule is one demand on a CRL.
type crlRule struct {
	name, section, want string
	ok                  func(*x509.RevocationList) bool
}

// crlProfile is what a CRL has to keep to, on top of being parsed, which takes
// version 2.
var crlProfile = []crlRule{
	{"crl-issuer", "RFC 5280 5.1.2.3", "issuer of a CRL must not be empty", func(l *x509.RevocationList) bool { return len(l.Issuer.Names) > 0 }},
	{"crl-signature", "RFC 9155 and CABF 7.1.3.2", "signature of a CRL must be RSA or ECDSA with SHA-256, SHA-384 or SHA-512", func(l *x509.RevocationList) bool {
		return hasGoodSignature(&x509.Certificate{SignatureAlgorithm: l.SignatureAlgorithm})
	}},
	{"crl-next-update", "RFC 5280 5.1.2.5", "CRL must have nextUpdate, after thisUpdate", func(l *x509.RevocationList) bool { return l.NextUpdate.After(l.ThisUpdate) }},
	{"crl-authority-key-id", "RFC 5280 5.2.1", "CRL must have an authority key identifier with a key id", func(l *x509.RevocationList) bool { return len(l.AuthorityKeyId) > 0 }},
	{"crl-number", "RFC 5280 5.2.3", "CRL must have a number of at most 20 bytes that is not negative", func(l *x509.RevocationList) bool {
		return l.Number != nil && l.Number.Sign() >= 0 && l.Number.BitLen() <= maxSerialBits
	}},
	{"crl-extensions", "RFC 5280 4.2", "CRL must have each extension once", func(l *x509.RevocationList) bool { return areDistinct(l.Extensions) }},
	{"crl-critical", "RFC 5280 5.2", "CRL must not have unknown critical extensions", func(l *x509.RevocationList) bool {
		return !hasUnknownCritical(l.Extensions, oidAuthorityKeyID, oidCRLNumber)
	}},
	{"crl-entry-critical", "RFC 5280 5.3", "entries of a CRL must not have unknown critical extensions", func(l *x509.RevocationList) bool {
		for _, e := range l.RevokedCertificateEntries {
			if hasUnknownCritical(e.Extensions, oidReasonCode) {
				return false
			}
		}
		return true
	}},
	{"crl-remove", "RFC 5280 5.3.1", "entries of a complete CRL must not have the reason removeFromCRL", func(l *x509.RevocationList) bool {
		for _, e := range l.RevokedCertificateEntries {
			if e.ReasonCode == reasonRemoveFromCRL {
				return false
			}
		}
		return true
	}},
}

// parseCRL reads a CRL and checks what it is, not yet who has signed it.
func parseCRL(der []byte) (*x509.RevocationList, error) {
	if len(der) > MaxCRLSize {
		return nil, ErrTooLarge
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if len(list.Raw) != len(der) {
		return nil, errCRLTrailing
	}
	if err := scopeOf(list); err != nil {
		return nil, err
	}
	for _, r := range crlProfile {
		if !r.ok(list) {
			return nil, &RuleError{r.name, r.section, r.want}
		}
	}
	return list, nil
}

// scopeOf refuses what is not about all certificates of its issuer.
func scopeOf(list *x509.RevocationList) error {
	for _, e := range list.Extensions {
		switch {
		case e.Id.Equal(oidDeltaIndicator):
			return ErrDelta
		case e.Id.Equal(oidDistributionPoint) && isIndirect(e):
			return ErrIndirect
		case e.Id.Equal(oidDistributionPoint):
			return ErrPartial
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Id.Equal(oidCertificateIssuer) {
				return ErrIndirect
			}
		}
	}
	return nil
}

func isIndirect(point pkix.Extension) bool {
	fields, _ := children(point.Value)
	for _, f := range fields {
		if f.Tag == tagIndirectCRL && !bytes.Equal(f.Bytes, []byte{0}) {
			return true
		}
	}
	return false
}

func hasUnknownCritical(extensions []pkix.Extension, known ...asn1.ObjectIdentifier) bool {
	for _, e := range extensions {
		if e.Critical && !containsOID(known, e.Id) {
			return true
		}
	}
	return false
}

func areDistinct(extensions []pkix.Extension) bool {
	seen := make(map[string]bool) // a CRL may have hundreds of thousands
	for _, e := range extensions {
		id := e.Id.String()
		if seen[id] {
			return false
		}
		seen[id] = true
	}
	return true
}

func containsOID(list []asn1.ObjectIdentifier, id asn1.ObjectIdentifier) bool {
	for _, known := range list {
		if known.Equal(id) {
			return true
		}
	}
	return false
}
