// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What makes an answer more, or other, than a renewal. Renew and AcceptRenewal
// return them in a [*ChainError] that has the certificate.
var (
	// ErrIssuer means that another CA has signed the answer than the present
	// certificate.
	ErrIssuer = errors.New("not signed by the CA of the present certificate")

	// ErrNotLater means that the answer does not reach further than the present
	// certificate, or is an older one.
	ErrNotLater = errors.New("not later than the present certificate")

	// ErrWider means that the answer has another subject, or a name or a usage
	// that the present certificate has not.
	ErrWider = errors.New("says more than the present certificate")
)

// check compares an answer, which is a chain that verifies, with what is there.
func (r Renewal) check(present, answer []*x509.Certificate) error {
	old, leaf := present[0], answer[0]
	if !r.sameIssuer(present, answer) {
		return fmt.Errorf("%w: its issuer is %q", ErrIssuer, leaf.Issuer)
	}
	if !r.AllowEarlier && (leaf.NotBefore.Before(old.NotBefore) || !leaf.NotAfter.After(old.NotAfter)) {
		return fmt.Errorf("%w: valid from %s, and the present one from %s", ErrNotLater, span(leaf), span(old))
	}
	return cmp.Or(r.checkNames(old, leaf), r.checkUsages(old, leaf), checkBounds(old, leaf))
}

func span(c *x509.Certificate) string {
	return c.NotBefore.UTC().Format(time.RFC3339) + " to " + c.NotAfter.UTC().Format(time.RFC3339)
}

// sameIssuer asks for the key, not for the name: a CA certificate with any name
// is quickly made. It is the present issuer if that is on the token, or the
// answer's own if it has signed the present certificate as well.
func (r Renewal) sameIssuer(present, answer []*x509.Certificate) bool {
	admitted := slices.Clone(r.Issuers)
	if len(present) > 1 {
		admitted = append(admitted, present[1])
	}
	if len(answer) > 1 && issued(answer[1], present[0]) {
		admitted = append(admitted, answer[1])
	}
	if selfSigned(present[0]) && selfSigned(answer[0]) {
		return true // by one key, which has been looked at
	}
	return slices.ContainsFunc(admitted, func(ca *x509.Certificate) bool { return issued(ca, answer[0]) })
}

// checkNames compares subjects by meaning, because CAs encode them anew, and
// alternative names by encoding, because there are forms that crypto/x509 does
// not read.
func (r Renewal) checkNames(old, leaf *x509.Certificate) error {
	subjects := []string{subjectOf(old.RawSubject)}
	admitted, err := alternativeNames(old.Extensions)
	if err != nil {
		return err
	}
	if r.Request != nil {
		template, err := r.Request.certificate()
		if err != nil {
			return err
		}
		subjects = append(subjects, subjectOf(template.RawSubject))
		more, err := alternativeNames(template.Extensions)
		if err != nil {
			return err
		}
		admitted = append(admitted, more...)
	}
	if !slices.Contains(subjects, subjectOf(leaf.RawSubject)) {
		return fmt.Errorf("%w: its subject is %q", ErrWider, leaf.Subject)
	}
	names, err := alternativeNames(leaf.Extensions)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !slices.Contains(admitted, n) {
			return fmt.Errorf("%w: the name %s", ErrWider, n)
		}
	}
	return nil
}

// subjectOf returns a distinguished name as text, the same for all encodings of
// its strings.
func subjectOf(raw []byte) string {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &rdns); err != nil || len(rest) > 0 {
		return fmt.Sprintf("unreadable %x", raw)
	}
	return rdns.String()
}

// A name is a GeneralName (RFC 5280 section 4.2.1.6).
type name struct {
	tag   int
	value string // contents, of a DNS name in small letters
}

const (
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
)

func (n name) String() string {
	switch n.tag {
	case tagEmail, tagDNS, tagURI:
		return strconv.Quote(n.value)
	case tagIP:
		return net.IP(n.value).String()
	}
	return fmt.Sprintf("of form %d, %x", n.tag, n.value)
}

var oidAlternativeNames = asn1.ObjectIdentifier{2, 5, 29, 17}

// alternativeNames returns the names of the subject alternative name extension.
func alternativeNames(extensions []pkix.Extension) (names []name, err error) {
	for _, e := range extensions {
		if !e.Id.Equal(oidAlternativeNames) {
			continue
		}
		var values []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &values); err != nil || len(rest) > 0 {
			return nil, fmt.Errorf("%w: unreadable names", ErrChain)
		}
		for _, v := range values {
			n := name{v.Tag, string(v.Bytes)}
			if v.Tag == tagDNS {
				n.value = strings.ToLower(n.value)
			}
			names = append(names, n)
		}
	}
	return names, nil
}

// checkUsages compares extended key usages and key usages. A certificate without
// either is good for all.
func (r Renewal) checkUsages(old, leaf *x509.Certificate) error {
	if extra := leaf.KeyUsage &^ (old.KeyUsage | r.KeyUsage); old.KeyUsage != 0 && (leaf.KeyUsage == 0 || extra != 0) {
		return fmt.Errorf("%w: key usage %b, of which %b is new", ErrWider, leaf.KeyUsage, extra)
	}
	if anyUsage(old) {
		return nil
	}
	if anyUsage(leaf) && !slices.Contains(r.Usages, x509.ExtKeyUsageAny) {
		return fmt.Errorf("%w: it is good for every usage", ErrWider)
	}
	for _, u := range leaf.ExtKeyUsage {
		if !slices.Contains(old.ExtKeyUsage, u) && !slices.Contains(r.Usages, u) {
			return fmt.Errorf("%w: extended key usage %v", ErrWider, u)
		}
	}
	for _, u := range leaf.UnknownExtKeyUsage {
		if !slices.ContainsFunc(old.UnknownExtKeyUsage, u.Equal) {
			return fmt.Errorf("%w: extended key usage %v", ErrWider, u)
		}
	}
	return nil
}

func anyUsage(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

var (
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
	errOtherBounds     = fmt.Errorf("%w: it is a CA with other bounds", ErrWider)
)

const noPathLength = -1

// checkBounds holds a CA to the path length and the name constraints it has (RFC
// 5280 sections 4.2.1.9 and 4.2.1.10).
func checkBounds(old, leaf *x509.Certificate) error {
	if !old.IsCA {
		return nil
	}
	before, after := pathLength(old), pathLength(leaf)
	if before != noPathLength && (after == noPathLength || after > before) {
		return errOtherBounds
	}
	if constraints := extension(old, oidNameConstraints); constraints != nil && !bytes.Equal(constraints, extension(leaf, oidNameConstraints)) {
		return errOtherBounds
	}
	return nil
}

func pathLength(c *x509.Certificate) int {
	if c.MaxPathLen > 0 || c.MaxPathLenZero {
		return c.MaxPathLen
	}
	return noPathLength
}

func extension(c *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	return nil
}
