// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// A CRLPolicy says what is expected of the CRLs of issuers. Whatever the policy,
// a certificate that is on a CRL in the store is revoked, also if the CRL is past
// its nextUpdate.
type CRLPolicy int

// The policies.
const (
	// UseStaleCRL, the zero CRLPolicy, takes what CRLs there are. One past its
	// nextUpdate, and one that has been in the store and is missing, is warned of
	// by [Config].Logger and [Store.CRLs].
	UseStaleCRL CRLPolicy = iota

	// RefuseStaleCRL also refuses the certificates of an issuer whose CRL is past
	// its nextUpdate or missing. Issuers that never had a CRL need none.
	RefuseStaleCRL

	// RequireCRL also refuses the certificates of an issuer without a CRL.
	RequireCRL
)

// What a [RejectedError] holds beside a [*RevokedError].
var (
	// ErrStaleCRL is about an issuer whose CRL is past its nextUpdate.
	ErrStaleCRL = errors.New("CRL of the issuer is past its next update")

	// ErrNoCRL is about an issuer that should have a CRL in the store.
	ErrNoCRL = errors.New("CRL of the issuer is missing")

	errCRLPolicy = errors.New("unknown CRL policy")
)

// A RevokedError says that a certificate is revoked. It comes inside a
// [*RejectedError].
type RevokedError struct {
	Certificate *x509.Certificate // the revoked one, which may be an issuer
	At          time.Time         // since when; no certificate is revoked in future only
	Reason      string            // from the CRL, such as "key compromise", or from [Store.Deny]
	By          *x509.Certificate // who issued the CRL; nil for the deny-list
}

// Error says who has revoked the certificate, and why.
func (e *RevokedError) Error() string {
	by := "the deny-list"
	if e.By != nil {
		by = fmt.Sprintf("the CRL of %q", describe(e.By))
	}
	return fmt.Sprintf("revoked by %s at %s: %s", by, e.At.UTC().Format(time.RFC3339), e.Reason)
}

// crlReasons are the words for RFC 5280 section 5.3.1. A certificate on hold is
// revoked as long as it is listed.
var crlReasons = map[uint8]string{
	0: "unspecified", 1: "key compromise", 2: "CA compromise", 3: "affiliation changed", 4: "superseded",
	5: "cessation of operation", 6: "certificate hold", 9: "privilege withdrawn", 10: "AA compromise",
}

func reasonWord(code uint8) string {
	if word, ok := crlReasons[code]; ok {
		return word
	}
	return fmt.Sprintf("reason %d", code)
}

// revocations is what is known to be revoked at one time. It is never changed.
// The nil *revocations knows of nothing.
type revocations struct {
	policy  CRLPolicy
	lists   map[issuerID]*revocationList
	missing map[issuerID]crlMark             // a CRL of at least this number should be there
	denied  map[[sha256.Size]byte]*Denial    // by fingerprint
	signed  map[[sha256.Size]byte]*Denial    // the same by what the issuer has signed
	records map[[sha256.Size]byte]denyRecord // of the deny-list, allowed ones too
	marks   map[issuerID]crlMark             // of CRLs, removed ones too
}

// byDigest returns a CRL that has been verified before, or nil.
func (r *revocations) byDigest(digest [sha256.Size]byte) *revocationList {
	if r == nil {
		return nil
	}
	for _, l := range r.lists {
		if l.digest == digest {
			return l
		}
	}
	return nil
}

// issuers returns the names of those whose CRLs are in the store.
func (r *revocations) issuers() (names []string) {
	if r == nil {
		return nil
	}
	for _, l := range r.lists {
		names = append(names, string(l.issuer.RawSubject))
	}
	return names
}

// of returns the CRLs in the store whose issuers are among objects.
func (r *revocations) of(objects []found) (lists []*revocationList) {
	if r == nil {
		return nil
	}
	for _, l := range r.lists {
		if slices.ContainsFunc(objects, func(o found) bool { return o.cert != nil && o.cert.Equal(l.issuer) }) {
			lists = append(lists, l)
		}
	}
	return lists
}

// idle reports whether everybody passes.
func (r *revocations) idle() bool {
	return r == nil || r.policy != RequireCRL && len(r.lists)+len(r.missing)+len(r.denied) == 0
}

// check looks for revoked certificates on a path that ends in an anchor. It costs
// the same however many CRLs there are and however long they are.
func (r *revocations) check(path []*x509.Certificate, at time.Time) error {
	if r.idle() {
		return nil
	}
	for i, c := range path {
		err := r.onDenyList(c)
		if err == nil && i+1 < len(path) {
			err = r.byIssuer(c, path[i+1], at)
		}
		if err != nil {
			return &RejectedError{c, err}
		}
	}
	return nil
}

// revoked is check without the demands of the policy.
func (r *revocations) revoked(path []*x509.Certificate, at time.Time) error {
	if r.idle() {
		return nil
	}
	lax := *r
	lax.policy = UseStaleCRL
	return lax.check(path, at)
}

// byIssuer asks the CRL of the one who issued c.
func (r *revocations) byIssuer(c, issuer *x509.Certificate, at time.Time) error {
	id := issuerIDOf(issuer)
	list := r.lists[id]
	if list == nil {
		if _, expected := r.missing[id]; r.policy == RequireCRL || expected && r.policy == RefuseStaleCRL {
			return ErrNoCRL
		}
		return nil
	}
	if found, ok := list.find(c); ok {
		return &RevokedError{c, time.Unix(found.at, 0), reasonWord(found.reason), list.issuer}
	}
	if _, expected := r.missing[id]; expected && r.policy != UseStaleCRL {
		return ErrNoCRL
	}
	if at.After(list.nextUpdate) && r.policy != UseStaleCRL {
		return ErrStaleCRL
	}
	return nil
}

func (r *revocations) onDenyList(c *x509.Certificate) error {
	if len(r.denied) == 0 {
		return nil
	}
	d := r.denied[sha256.Sum256(c.Raw)]
	if d == nil {
		d = r.signed[sha256.Sum256(c.RawTBSCertificate)]
	}
	if d == nil {
		return nil
	}
	return &RevokedError{Certificate: c, At: d.At, Reason: d.Reason}
}

// same reports whether r and other refuse the same.
func (r *revocations) same(other *revocations) bool {
	if r == nil || other == nil {
		return r.idle() && other.idle()
	}
	sameList := func(a, b *revocationList) bool { return a.digest == b.digest }
	sameMark := func(a, b crlMark) bool { return a.number.Cmp(b.number) == 0 }
	sameDenial := func(a, b *Denial) bool { return true }
	return r.policy == other.policy && maps.EqualFunc(r.lists, other.lists, sameList) &&
		maps.EqualFunc(r.missing, other.missing, sameMark) &&
		maps.EqualFunc(r.denied, other.denied, sameDenial) && maps.EqualFunc(r.signed, other.signed, sameDenial)
}
