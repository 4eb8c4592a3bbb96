// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/x509"
	"slices"

	names "github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// issuers finds issuers on the token. It is a [finder].
func (s *Store) issuers(ctx context.Context, subject []byte) ([]*x509.Certificate, error) {
	found, err := s.device.Certificates(ctx, p11.Filter{Subject: subject})
	if err != nil {
		return nil, err
	}
	return among(found)(ctx, subject)
}

// among finds issuers in a list of objects. Besides the issuers that this
// package keeps, ordinary certificates count, so that a token that another tool
// has filled yields its chains; trusted entries do not, because removing one
// must not change what is sent.
func among(objects []p11.Certificate) finder {
	bySubject := map[string][]*x509.Certificate{}
	for _, o := range objects {
		if names.IsTrustID(o.ID) || isNoteID(o.ID) {
			continue
		}
		if cert, err := x509.ParseCertificate(o.Value); err == nil && cert.IsCA {
			bySubject[string(cert.RawSubject)] = append(bySubject[string(cert.RawSubject)], cert)
		}
	}
	return func(_ context.Context, subject []byte) ([]*x509.Certificate, error) {
		return bySubject[string(subject)], nil
	}
}

// issuerTemplate is the object for a certificate that is kept for chains only.
func issuerTemplate(c *x509.Certificate) p11.CertificateTemplate {
	return p11.CertificateTemplate{
		Label:    names.IssuerLabel(c.Raw),
		ID:       names.IssuerID(c.Raw),
		Value:    c.Raw,
		Category: p11.CategoryAuthority,
	}
}

// sweep removes the issuers that no certificate on the token needs any more. An
// issuer is needed if it signed something that stays.
func (s *Store) sweep(ctx context.Context) error {
	objects, err := s.device.Certificates(ctx, p11.Filter{})
	if err != nil {
		return err
	}
	rest := unneeded(objects)
	for _, o := range rest {
		if err := s.remove(ctx, o); err != nil {
			return err
		}
	}
	return s.giveBack(ctx, rest)
}

// giveBack writes those of the removed issuers again that are needed after all.
// Another process may have found them there, and written its certificate after
// they were judged; it looks for them once more then, so that one of the two
// notices.
func (s *Store) giveBack(ctx context.Context, removed []p11.Certificate) error {
	if !slices.ContainsFunc(removed, func(c p11.Certificate) bool { return names.IsIssuerID(c.ID) }) {
		return nil
	}
	objects, err := s.device.Certificates(ctx, p11.Filter{})
	if err != nil {
		return err
	}
	for _, c := range missed(removed, objects) {
		cert, err := x509.ParseCertificate(c.Value)
		if err != nil {
			return err
		}
		if _, err := s.device.CreateCertificate(ctx, issuerTemplate(cert)); err != nil {
			return err
		}
	}
	return nil
}

// missed returns the removed issuers without which a chain ends too early. The
// issuer of one that is missed may be missed itself.
func missed(removed, objects []p11.Certificate) (again []p11.Certificate) {
	here := parsed(objects)
	for found := true; found; {
		found = false
		for _, c := range removed {
			cert, err := x509.ParseCertificate(c.Value)
			if err == nil && names.IsIssuerID(c.ID) && !slices.ContainsFunc(here, cert.Equal) && lacks(here, cert) {
				again = append(again, c)
				here = append(here, cert)
				found = true
			}
		}
	}
	return again
}

// lacks reports whether issuer has signed one of the certificates, and none of
// them has signed the same one.
func lacks(certs []*x509.Certificate, issuer *x509.Certificate) bool {
	return slices.ContainsFunc(certs, func(c *x509.Certificate) bool {
		return issued(issuer, c) && !slices.ContainsFunc(certs, func(o *x509.Certificate) bool { return issued(o, c) })
	})
}

// parsed returns the certificates that have to do with identities.
func parsed(objects []p11.Certificate) (certs []*x509.Certificate) {
	for _, o := range objects {
		if cert, err := x509.ParseCertificate(o.Value); err == nil && !names.IsTrustID(o.ID) {
			certs = append(certs, cert)
		}
	}
	return certs
}

// unneeded returns the issuers that signed nothing that stays.
func unneeded(objects []p11.Certificate) (rest []p11.Certificate) {
	var stay []*x509.Certificate
	waiting := map[int]*x509.Certificate{}
	for i, o := range objects {
		cert, err := x509.ParseCertificate(o.Value)
		switch {
		case err != nil || names.IsTrustID(o.ID):
		case names.IsIssuerID(o.ID):
			waiting[i] = cert
		default:
			stay = append(stay, cert)
		}
	}
	for len(stay) > 0 {
		c := stay[0]
		stay = stay[1:]
		for i, issuer := range waiting {
			if issued(issuer, c) {
				stay = append(stay, issuer)
				delete(waiting, i)
			}
		}
	}
	for i := range waiting {
		rest = append(rest, objects[i])
	}
	return rest
}
