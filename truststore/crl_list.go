// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// ErrCRLIssuer is in the [*CRLError] for a CRL of nobody who is known here: its
// issuer must be an anchor, or an issuing CA in the store that has a chain to one.
var ErrCRLIssuer = errors.New("issuer of the CRL is neither an anchor nor an issuing CA of the store")

// A CRLError says why a CRL is refused. Err is a [*RuleError], a
// [*RejectedError] about its issuer, a sentinel of this package or an error of
// crypto/x509.
type CRLError struct {
	Issuer string // as the CRL has it, empty if it cannot be read
	Err    error
}

// Error names the CRL by its issuer.
func (e *CRLError) Error() string {
	if e.Issuer == "" {
		return fmt.Sprintf("CRL is refused: %v", e.Err)
	}
	return fmt.Sprintf("CRL of %q is refused: %v", e.Issuer, e.Err)
}

// Unwrap returns the reason.
func (e *CRLError) Unwrap() error { return e.Err }

// An issuerID is an issuer's name and key. A name alone could be anybody's.
type issuerID [sha256.Size]byte

func issuerIDOf(c *x509.Certificate) (id issuerID) {
	h := sha256.New()
	h.Write(c.RawSubject) // DER tells where it ends
	h.Write(c.RawSubjectPublicKeyInfo)
	h.Sum(id[:0])
	return id
}

// String is how users see it.
func (id issuerID) String() string { return hex.EncodeToString(id[:8]) }

// A serial is a serial number that the profile lets through.
type serial [20]byte

func serialOf(n *big.Int) (s serial, ok bool) {
	if n == nil || n.Sign() <= 0 || n.BitLen() > 8*len(s) {
		return s, false
	}
	n.FillBytes(s[:])
	return s, true
}

// A revocation is one entry of a CRL.
type revocation struct {
	at     int64 // seconds since 1970
	reason uint8
}

// A revocationList is a CRL whose signature has been verified. It is never
// changed.
type revocationList struct {
	digest                 [sha256.Size]byte
	issuer                 *x509.Certificate
	id                     issuerID
	number                 *big.Int
	thisUpdate, nextUpdate time.Time
	revoked                map[serial]revocation
	private                bool
	lost                   bool // not on the token any more
}

// newList takes what matters from a CRL that issuer has signed. A serial number
// that no certificate can have here is left out.
func newList(from *x509.RevocationList, issuer *x509.Certificate) *revocationList {
	l := &revocationList{
		digest: sha256.Sum256(from.Raw), issuer: issuer, id: issuerIDOf(issuer),
		number: from.Number, thisUpdate: from.ThisUpdate, nextUpdate: from.NextUpdate,
		revoked: make(map[serial]revocation, len(from.RevokedCertificateEntries)),
	}
	for _, e := range from.RevokedCertificateEntries {
		if s, ok := serialOf(e.SerialNumber); ok {
			l.revoked[s] = revocation{e.RevocationTime.Unix(), uint8(min(e.ReasonCode, 255))}
		}
	}
	return l
}

// find returns what the list says of a certificate of its issuer.
func (l *revocationList) find(c *x509.Certificate) (revocation, bool) {
	s, ok := serialOf(c.SerialNumber)
	if !ok {
		return revocation{}, false
	}
	r, ok := l.revoked[s]
	return r, ok
}

// newer reports whether l takes the place of other, which may be nil.
func (l *revocationList) newer(other *revocationList) bool {
	return other == nil || l.number.Cmp(other.number) > 0
}

// early refuses a list that is from the future.
func (l *revocationList) early(at time.Time) error {
	if !l.thisUpdate.After(at) {
		return nil
	}
	rule := &RuleError{"crl-this-update", "RFC 5280 5.1.2.4", "thisUpdate of a CRL must not be in the future"}
	return &CRLError{l.issuer.Subject.String(), rule}
}

// withState returns l as it lies on the token.
func (l *revocationList) withState(private, lost bool) *revocationList {
	changed := *l
	changed.private, changed.lost = private, lost
	return &changed
}

// readCRL reads and verifies a CRL against what the snapshot knows of issuers.
// One that was verified before is not parsed again: only its issuer is looked at.
func (s *snapshot) readCRL(der []byte, known *revocations, at time.Time) (*revocationList, error) {
	if l := known.byDigest(sha256.Sum256(der)); l != nil && s.mayIssue(l.issuer, at) == nil {
		return l, nil
	}
	list, err := parseCRL(der)
	if err != nil {
		return nil, &CRLError{Err: err}
	}
	issuer, err := s.signer(list, at)
	if err != nil {
		return nil, &CRLError{list.Issuer.String(), err}
	}
	return newList(list, issuer), nil
}

// signer returns the certificate a CRL is signed with: that of an anchor, or of
// an issuing CA that has a path to one. It must have cRLSign.
func (s *snapshot) signer(list *x509.RevocationList, at time.Time) (*x509.Certificate, error) {
	var refusal error
	for _, c := range slices.Concat(s.anchors.all, s.issuers[string(list.RawIssuer)]) {
		if !bytes.Equal(c.RawSubject, list.RawIssuer) || !bytes.Equal(c.SubjectKeyId, list.AuthorityKeyId) {
			continue
		}
		err := cmp.Or(list.CheckSignatureFrom(c), s.mayIssue(c, at))
		if err == nil {
			return c, nil
		}
		refusal = cmp.Or(refusal, err)
	}
	if refusal != nil {
		return nil, fmt.Errorf("%w: %w", ErrCRLIssuer, refusal)
	}
	return nil, ErrCRLIssuer
}

// mayIssue reports why an issuer does not stand below an anchor. What is revoked
// is not looked at: below a revoked issuer nobody is trusted anyway.
func (s *snapshot) mayIssue(c *x509.Certificate, at time.Time) error {
	if slices.ContainsFunc(s.anchors.all, c.Equal) {
		return current(c, at)
	}
	_, err := s.pathsOf(c, at)
	return err
}

// pathsOf returns the paths of an issuing CA to anchors, by all rules.
func (s *snapshot) pathsOf(c *x509.Certificate, at time.Time) (good [][]*x509.Certificate, err error) {
	if err := check(c, authority); err != nil {
		return nil, err
	}
	q := question{usage: x509.ExtKeyUsageAny, at: at}
	found, err := q.paths(c, s.issuers.above([]*x509.Certificate{c}), s.anchors.pool)
	if err != nil {
		return nil, err
	}
	var refusal error
	for _, path := range found {
		if err := checkPath(path); err != nil {
			refusal = cmp.Or(refusal, err)
			continue
		}
		good = append(good, path)
	}
	if len(good) == 0 {
		return nil, cmp.Or(refusal, ErrCRLIssuer)
	}
	return good, nil
}
