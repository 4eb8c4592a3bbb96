// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/url"
	"slices"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// Rules says which trusted peers are accepted: those that at least one rule names.
// Everything is compared exactly; there are no patterns. The zero Rules names
// nobody.
type Rules struct {
	// CommonNames are common names of the subject. A subject with several has
	// none.
	CommonNames []string
	// Units are organizational units of the subject.
	Units []string
	// Names are DNS names and URIs among the subject alternative names. Neither
	// is an expression: "*.example" names a certificate for "*.example".
	Names []string
	// SPKI are SHA-256 digests of the subject public key info (RFC 5280 section
	// 4.1.2.7), which stay the same when a certificate is renewed.
	SPKI [][sha256.Size]byte
	// Match, if set, is asked about peers that nothing above names. It must not
	// have side effects, and be safe for concurrent use.
	Match func(leaf *x509.Certificate) bool
}

// Allow returns nil if a rule names leaf, else an [ErrNotAllowed].
func (r *Rules) Allow(leaf *x509.Certificate) error {
	if leaf != nil && r.names(leaf) {
		return nil
	}
	if leaf == nil {
		return fmt.Errorf("%w: it has no certificate", ErrNotAllowed)
	}
	return fmt.Errorf("%w: %q", ErrNotAllowed, leaf.Subject)
}

func (r *Rules) names(leaf *x509.Certificate) bool {
	return slices.Contains(r.CommonNames, commonName(leaf)) ||
		overlap(r.Units, leaf.Subject.OrganizationalUnit) ||
		overlap(r.Names, leaf.DNSNames) ||
		slices.ContainsFunc(leaf.URIs, func(u *url.URL) bool { return slices.Contains(r.Names, u.String()) }) ||
		slices.Contains(r.SPKI, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)) ||
		r.Match != nil && r.Match(leaf)
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// commonName returns the only one there is, or nothing, which no rule can be.
func commonName(leaf *x509.Certificate) string {
	n := 0
	for _, attribute := range leaf.Subject.Names {
		if attribute.Type.Equal(oidCommonName) {
			n++
		}
	}
	if n != 1 {
		return ""
	}
	return leaf.Subject.CommonName
}

func (r *Rules) empty() bool {
	return len(r.CommonNames)+len(r.Units)+len(r.Names)+len(r.SPKI) == 0 && r.Match == nil
}

// check refuses rules that would name those without a name.
func (r *Rules) check() error {
	if slices.Contains(slices.Concat(r.CommonNames, r.Units, r.Names), "") {
		return incomplete("a rule is empty")
	}
	return nil
}

// guard adds the rules to what p asks about a peer, on resumed handshakes and
// rechecks too.
func (r *Rules) guard(p *hsmtls.Provider) {
	if r.empty() {
		return
	}
	rules, before := *r, p.VerifyPeer
	p.VerifyPeer = func(cs tls.ConnectionState) error {
		if before != nil {
			if err := before(cs); err != nil {
				return err
			}
		}
		if len(cs.PeerCertificates) == 0 {
			return rules.Allow(nil)
		}
		return rules.Allow(cs.PeerCertificates[0])
	}
}
