// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/x509"

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
	for _, o := range unneeded(objects) {
		if err := s.device.Destroy(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// unneeded returns the issuers that signed nothing that stays.
func unneeded(objects []p11.Certificate) (rest []p11.Object) {
	var stay []*x509.Certificate
	waiting := map[p11.Object]*x509.Certificate{}
	for _, o := range objects {
		cert, err := x509.ParseCertificate(o.Value)
		switch {
		case err != nil || names.IsTrustID(o.ID):
		case names.IsIssuerID(o.ID):
			waiting[o.Object] = cert
		default:
			stay = append(stay, cert)
		}
	}
	for len(stay) > 0 {
		c := stay[0]
		stay = stay[1:]
		for o, issuer := range waiting {
			if issued(issuer, c) {
				stay = append(stay, issuer)
				delete(waiting, o)
			}
		}
	}
	for o := range waiting {
		rest = append(rest, o)
	}
	return rest
}
