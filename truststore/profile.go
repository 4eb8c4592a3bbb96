// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"crypto/x509"
)

// A scope says which certificates of a chain a rule is about.
type scope uint

const (
	leaf      scope = 1 << iota // the certificate of a peer
	authority                   // an issuer, or an entry that is one
	below                       // a certificate with an issuer other than itself
	root                        // a self-issued anchor
	endorser                    // the certificate that signs an endorsement

	all = leaf | authority | endorser
	end = leaf | endorser
)

// A rule is one demand on one certificate.
type rule struct {
	name    string
	on      scope
	section string
	want    string
	ok      func(*x509.Certificate) bool
}

// The profile, which is stricter than crypto/x509. Some demands are met by every
// certificate that crypto/x509 parses; they stand here too, so that the profile
// does not hang on another package's choice.
var profile = []rule{
	{"version", all, "RFC 5280 4.1.2.1", "version must be 3", isVersion3},
	{"serial", all, "RFC 5280 4.1.2.2", "serial number must be positive and fit in 20 bytes", hasGoodSerial},
	{"issuer", all, "RFC 5280 4.1.2.4", "issuer must not be empty", hasIssuer},
	{"time", all, "RFC 5280 4.1.2.5", "dates must be UTCTime to 2049 and GeneralizedTime after, in whole seconds", hasGoodTimes},
	{"signature", all, "RFC 9155 and CABF 7.1.3.2", "signature must be RSA or ECDSA with SHA-256, SHA-384 or SHA-512", hasGoodSignature},
	{"key", all, "CABF 6.1.5 and 6.1.6", "key must be RSA of 2048 to 8192 bits in whole bytes with exponent 65537 or more, or P-256, P-384, P-521", hasGoodKey},
	{"critical", all, "RFC 5280 4.2.1 and 4.2.2", "key identifiers, information access, freshest CRL and directory attributes must not be critical", hasNoWrongCritical},
	{"policy-constraints", all, "RFC 5280 4.2.1.11", "policy constraints must be critical", criticalIfPresent(oidPolicyConstraints)},
	{"inhibit-any-policy", all, "RFC 5280 4.2.1.14", "inhibit anyPolicy must be critical", criticalIfPresent(oidInhibitAnyPolicy)},
	{"authority-key-id", below, "RFC 5280 4.2.1.1", "authority key identifier must have a key id", hasAuthorityKeyID},
	{"authority-key-id-only", all, "CABF 7.1.2.11.1", "authority key identifier must have nothing but the key id", hasOnlyKeyID},

	{"ca", authority, "RFC 5280 4.2.1.9", "issuer must have basic constraints with cA set", isAuthority},
	{"ca-critical", authority, "RFC 5280 4.2.1.9", "basic constraints of an issuer must be critical", criticalIfPresent(oidBasicConstraints)},
	{"ca-key-usage", authority, "RFC 5280 4.2.1.3", "key usage of an issuer must have keyCertSign", mayCertify},
	{"ca-subject", authority, "RFC 5280 4.1.2.6", "subject of an issuer must not be empty", hasSubject},
	{"subject-key-id", authority, "RFC 5280 4.2.1.2", "issuer must have a subject key identifier", hasSubjectKeyID},
	{"name-constraints-critical", authority, "RFC 5280 4.2.1.10", "name constraints must be critical", criticalIfPresent(oidNameConstraints)},
	{"name-constraints-form", authority, "RFC 5280 4.2.1.10", "name constraints must be unmistakable: no dot before a DNS name, no single host for email and URI, no minimum or maximum", hasGoodConstraints},
	{"name-constraints-count", authority, "bound of this package", "name constraints must be 64 at most", hasFewConstraints},

	{"root-signature", root, "RFC 5280 6.1", "self-issued root must verify with its own key", isSelfSigned},
	{"root-key-id", root, "CABF 7.1.2.1.3", "authority key identifier of a root must be its own", hasOwnKeyID},
	{"root-ext-key-usage", root, "CABF 7.1.2.1.2", "root must not have extended key usage", lacks(oidExtKeyUsage)},

	{"leaf-ca", end, "CABF 7.1.2.7.8", "certificate of a peer must not be a CA", isNoAuthority},
	{"leaf-ca-usage", end, "RFC 5280 4.2.1.3", "key usage of a peer must not have keyCertSign or cRLSign", mayNotCertify},
	{"leaf-key-usage", end, "RFC 5280 4.2.1.3", "key usage of a peer, if present, must have digitalSignature", maySign},
	{"leaf-name-constraints", end, "RFC 5280 4.2.1.10", "certificate of a peer must not have name constraints", lacks(oidNameConstraints)},
	{"leaf-eku", leaf, "CABF 7.1.2.7.6", "certificate of a peer must have extended key usage", has(oidExtKeyUsage)},
	{"leaf-eku-critical", leaf, "CABF 7.1.2.7.6", "extended key usage of a peer must not be critical", notCritical(oidExtKeyUsage)},
	{"leaf-eku-purpose", leaf, "CABF 7.1.2.7.10", "extended key usage of a peer must be serverAuth, clientAuth or both and nothing else", isOnlyForTLS},
	{"leaf-san", leaf, "RFC 5280 4.2.1.6", "certificate of a peer must have a subject alternative name", hasName},
	{"leaf-san-critical", leaf, "RFC 5280 4.2.1.6", "subject alternative name must be critical exactly if the subject is empty", hasGoodNameCritical},
	{"leaf-san-count", leaf, "bound of this package", "subject alternative names must be 64 at most", hasFewNames},
	{"leaf-san-dns", leaf, "RFC 1034 3.5 and RFC 9525 6.3", "DNS names must be letters, digits and hyphens, with no wildcard but a first label *", hasGoodHosts},
	{"leaf-san-wildcard", leaf, "CABF 3.2.2.6", "wildcard must not stand directly under a public suffix", hasNarrowWildcards},
	{"leaf-email", leaf, "RFC 5280 4.1.2.6", "subject of a peer must not hold an email address, which name constraints would miss", hasNoEmail},
	{"leaf-common-name", leaf, "CABF 7.1.4.3", "common name that looks like a host must be a subject alternative name, letter for letter", hasCommonNameInNames},

	{"endorser-eku", endorser, "RFC 9336 3.1", "certificate that endorses must have extended key usage documentSigning and nothing else", isOnlyForDocuments},
}

// check returns the first rule that c breaks as a [*RejectedError], or nil.
func check(c *x509.Certificate, s scope) error {
	for _, r := range profile {
		if r.on&s != 0 && !r.ok(c) {
			return &RejectedError{c, &RuleError{r.name, r.section, r.want}}
		}
	}
	return nil
}

// checkPath checks a path but for its ends: what the first certificate is for is
// known before there is a path, and the last is an anchor.
func checkPath(path []*x509.Certificate) error {
	on := below
	for _, c := range path[:len(path)-1] {
		if err := check(c, on); err != nil {
			return err
		}
		on = authority | below
	}
	return nil
}

// checkAnchor checks a certificate that is trusted because somebody said so. It
// may be a root, or the CA of somebody who is not of interest.
func checkAnchor(c *x509.Certificate) error {
	if bytes.Equal(c.RawIssuer, c.RawSubject) {
		return check(c, authority|root)
	}
	return check(c, authority|below)
}
