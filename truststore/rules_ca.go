// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"strings"
)

// The context-specific tags of general names (RFC 5280 section 4.2.1.6).
const (
	tagEmail   = 1
	tagDNSName = 2
	tagURI     = 6
)

func isAuthority(c *x509.Certificate) bool { return c.BasicConstraintsValid && c.IsCA }

func mayCertify(c *x509.Certificate) bool { return c.KeyUsage&x509.KeyUsageCertSign != 0 }

func hasSubject(c *x509.Certificate) bool { return len(c.Subject.Names) > 0 }

func hasSubjectKeyID(c *x509.Certificate) bool { return len(c.SubjectKeyId) > 0 }

// isSelfSigned is what crypto/x509 leaves out: it takes an anchor as it is.
func isSelfSigned(c *x509.Certificate) bool {
	return c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func hasOwnKeyID(c *x509.Certificate) bool {
	return !hasAuthorityKeyID(c) || bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId)
}

func hasGoodConstraints(c *x509.Certificate) bool {
	trees, ok := subtrees(c)
	for _, tree := range trees {
		parts, _ := children(tree.FullBytes)
		ok = ok && len(parts) == 1 && isGoodConstraint(parts[0])
	}
	return ok
}

// isGoodConstraint refuses a leading dot in a DNS name, which some read as
// "subdomains only" though RFC 5280 does not know it, and the name of a single
// host for email and URI, which crypto/x509 reads as the whole domain.
func isGoodConstraint(base asn1.RawValue) bool {
	name := strings.ToLower(string(base.Bytes))
	switch base.Tag {
	case tagDNSName:
		return name == "" || isHost(name)
	case tagEmail, tagURI:
		return strings.Contains(name, "@") || strings.HasPrefix(name, ".")
	}
	return true
}

func hasFewConstraints(c *x509.Certificate) bool {
	trees, ok := subtrees(c)
	return ok && len(trees) <= maxConstraints
}

// subtrees returns the permitted and the excluded ones.
func subtrees(c *x509.Certificate) (trees []asn1.RawValue, ok bool) {
	sides, ok := list(c, oidNameConstraints)
	for _, side := range sides {
		some, well := children(side.FullBytes)
		trees, ok = append(trees, some...), ok && well
	}
	return trees, ok
}
