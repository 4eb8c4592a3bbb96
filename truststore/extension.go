// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
)

// The extensions the profile looks at (RFC 5280 section 4.2).
var (
	oidKeyUsage          = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName    = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints  = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidNameConstraints   = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidAuthorityKeyID    = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidPolicyConstraints = asn1.ObjectIdentifier{2, 5, 29, 36}
	oidExtKeyUsage       = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidInhibitAnyPolicy  = asn1.ObjectIdentifier{2, 5, 29, 54}
)

// neverCritical are the extensions a conforming CA must mark as not critical.
var neverCritical = map[string]bool{
	"2.5.29.9":           true, // subject directory attributes, 4.2.1.8
	"2.5.29.14":          true, // subject key identifier, 4.2.1.2
	"2.5.29.35":          true, // authority key identifier, 4.2.1.1
	"2.5.29.46":          true, // freshest CRL, 4.2.1.15
	"1.3.6.1.5.5.7.1.1":  true, // authority information access, 4.2.2.1
	"1.3.6.1.5.5.7.1.11": true, // subject information access, 4.2.2.2
}

// extension returns the extension id of c.
func extension(c *x509.Certificate, id asn1.ObjectIdentifier) (pkix.Extension, bool) {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e, true
		}
	}
	return pkix.Extension{}, false
}

func has(id asn1.ObjectIdentifier) func(*x509.Certificate) bool {
	return func(c *x509.Certificate) bool {
		_, ok := extension(c, id)
		return ok
	}
}

func lacks(id asn1.ObjectIdentifier) func(*x509.Certificate) bool {
	return func(c *x509.Certificate) bool { return !has(id)(c) }
}

func criticalIfPresent(id asn1.ObjectIdentifier) func(*x509.Certificate) bool {
	return func(c *x509.Certificate) bool {
		e, ok := extension(c, id)
		return !ok || e.Critical
	}
}

func notCritical(id asn1.ObjectIdentifier) func(*x509.Certificate) bool {
	return func(c *x509.Certificate) bool {
		e, _ := extension(c, id)
		return !e.Critical
	}
}

// list returns the elements of the extension id, none if c does not have it. It
// fails for an extension that is no list, so that a rule about its elements is
// not met by there being none.
func list(c *x509.Certificate, id asn1.ObjectIdentifier) (elements []asn1.RawValue, ok bool) {
	e, ok := extension(c, id)
	if !ok {
		return nil, true
	}
	return children(e.Value)
}

// children returns the elements inside the DER value.
func children(der []byte) (elements []asn1.RawValue, ok bool) {
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return nil, false
	}
	for rest := outer.Bytes; len(rest) > 0; {
		var element asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &element); err != nil {
			return nil, false
		}
		elements = append(elements, element)
	}
	return elements, true
}
