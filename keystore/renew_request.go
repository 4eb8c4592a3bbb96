// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"slices"
)

// renewalRequest returns what an alias names at the moment, read from the token,
// and a request to renew it.
func (s *Store) renewalRequest(ctx context.Context, alias string, r Renewal) (*Identity, []byte, error) {
	if err := s.ready(ctx, alias); err != nil {
		return nil, nil, err
	}
	present, err := s.load(ctx, alias)
	if err != nil {
		return nil, nil, err
	}
	template := sameAgain(present.Chain[0])
	if r.Request != nil {
		if template, err = r.Request.template(); err != nil {
			return nil, nil, err
		}
	}
	csr, err := signRequest(template, present.Key)
	return present, csr, err
}

// sameAgain asks for the subject and the names of a certificate, byte for byte
// (RFC 7030 section 4.2.2).
func sameAgain(c *x509.Certificate) *x509.CertificateRequest {
	t := &x509.CertificateRequest{
		RawSubject:  c.RawSubject,
		DNSNames:    c.DNSNames,
		IPAddresses: c.IPAddresses,
		URIs:        c.URIs,
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(oidAlternativeNames) {
			t.ExtraExtensions = []pkix.Extension{e}
		}
	}
	return t
}

// certificate is what a CA that grants a request writes of it, as far as names
// are concerned.
func (r Request) certificate() (*x509.Certificate, error) {
	if slices.Contains(r.URIs, nil) {
		return nil, errNoURI
	}
	subject, err := asn1.Marshal(r.Subject.ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("the subject cannot be encoded: %w", err)
	}
	var values []asn1.RawValue
	add := func(tag int, contents []byte) {
		values = append(values, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: contents})
	}
	for _, d := range r.DNSNames {
		add(tagDNS, []byte(d))
	}
	for _, u := range r.URIs {
		add(tagURI, []byte(u.String()))
	}
	for _, ip := range r.IPAddresses {
		add(tagIP, shortest(ip))
	}
	names, err := asn1.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("the names cannot be encoded: %w", err)
	}
	return &x509.Certificate{
		RawSubject: subject,
		Extensions: []pkix.Extension{{Id: oidAlternativeNames, Value: names}},
	}, nil
}

func shortest(ip net.IP) net.IP {
	if four := ip.To4(); four != nil {
		return four
	}
	return ip
}
