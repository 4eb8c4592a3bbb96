// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"

	// Only the list knows that *.co.uk spans a registry and *.example.com does not.
	"golang.org/x/net/publicsuffix"
)

func isNoAuthority(c *x509.Certificate) bool { return !c.IsCA }

func mayNotCertify(c *x509.Certificate) bool {
	return c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) == 0
}

func maySign(c *x509.Certificate) bool {
	return !has(oidKeyUsage)(c) || c.KeyUsage&x509.KeyUsageDigitalSignature != 0
}

func isOnlyForTLS(c *x509.Certificate) bool {
	for _, usage := range c.ExtKeyUsage {
		if !isTLSUsage(usage) {
			return false
		}
	}
	return len(c.UnknownExtKeyUsage) == 0
}

func isTLSUsage(usage x509.ExtKeyUsage) bool {
	return usage == x509.ExtKeyUsageServerAuth || usage == x509.ExtKeyUsageClientAuth
}

func hasName(c *x509.Certificate) bool {
	return len(c.DNSNames)+len(c.IPAddresses)+len(c.URIs)+len(c.EmailAddresses) > 0
}

func hasGoodNameCritical(c *x509.Certificate) bool {
	e, ok := extension(c, oidSubjectAltName)
	return !ok || e.Critical == (len(c.Subject.Names) == 0)
}

// hasFewNames counts all names, also those of kinds nobody reads here.
func hasFewNames(c *x509.Certificate) bool {
	names, ok := list(c, oidSubjectAltName)
	return ok && len(names) <= maxNames
}

func hasGoodHosts(c *x509.Certificate) bool {
	for _, name := range c.DNSNames {
		if !isHost(strings.ToLower(strings.TrimPrefix(name, "*."))) {
			return false
		}
	}
	return true
}

// hasNarrowWildcards counts a top-level domain nobody has registered, such as
// test, as a public suffix.
func hasNarrowWildcards(c *x509.Certificate) bool {
	for _, name := range c.DNSNames {
		base, wild := strings.CutPrefix(strings.ToLower(name), "*.")
		if suffix, _ := publicsuffix.PublicSuffix(base); wild && suffix == base {
			return false
		}
	}
	return true
}

func hasNoEmail(c *x509.Certificate) bool {
	return !slices.ContainsFunc(c.Subject.Names, func(a pkix.AttributeTypeAndValue) bool { return a.Type.Equal(oidEmail) })
}

func hasCommonNameInNames(c *x509.Certificate) bool {
	names := namesOf(c)
	for _, attribute := range c.Subject.Names {
		if !attribute.Type.Equal(oidCommonName) {
			continue
		}
		cn, ok := attribute.Value.(string)
		if !ok || looksLikeHost(cn) && !slices.Contains(names, cn) {
			return false
		}
	}
	return true
}

// namesOf returns the subject alternative names in the form they would have in
// a common name; for an IP address that is RFC 5952.
func namesOf(c *x509.Certificate) []string {
	names := slices.Concat(c.DNSNames, c.EmailAddresses)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range c.URIs {
		names = append(names, uri.String())
	}
	return names
}

// looksLikeHost is generous: it takes every spelling of an address that some
// program might read as one, and leaves "Till 4" and "terminal_pub" alone.
func looksLikeHost(s string) bool {
	s = strings.TrimSpace(s)
	if strings.Contains(s, " ") {
		return false
	}
	return strings.ContainsAny(s, ".:。") || strings.HasPrefix(strings.ToLower(s), "0x")
}

// isHost reports whether s is a host name in lower case (RFC 1034 section 3.5,
// RFC 1123 section 2.1) that cannot be taken for an IPv4 address.
func isHost(s string) bool {
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if !isLabel(label) {
			return false
		}
	}
	return len(s) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func isLabel(s string) bool {
	return len(s) >= 1 && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// The attributes of a subject the profile looks at (RFC 5280 section 4.1.2.6).
var (
	oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidEmail      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
)
