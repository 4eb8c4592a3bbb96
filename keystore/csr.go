// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
)

// A Request is what a certificate is asked for. It needs a subject or one name.
type Request struct {
	Subject     pkix.Name
	DNSNames    []string
	IPAddresses []net.IP
	URIs        []*url.URL
}

// CSR returns a certificate request (PKCS #10, RFC 2986) in DER for the key
// with that key alias, signed by the token. The signature is one that the token
// can make: PKCS #1 v1.5 with SHA-256 for RSA if possible, else with another
// SHA-2, else PSS; SHA-256 for P-256 and SHA-384 for P-384. The request is
// parsed and verified before it is returned. Errors are those of Key.
func (s *Store) CSR(ctx context.Context, alias string, r Request) (_ []byte, err error) {
	defer wrap(&err, "request certificate for", alias)
	template, err := r.template()
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx, alias); err != nil {
		return nil, err
	}
	key, err := s.keyByLabel(ctx, alias)
	if err != nil {
		return nil, err
	}
	return signRequest(template, key)
}

// errNoURI is what crypto/x509 would panic at.
var errNoURI = errors.New("the request has nil among its URIs")

func (r Request) template() (*x509.CertificateRequest, error) {
	if slices.Contains(r.URIs, nil) {
		return nil, errNoURI
	}
	if len(r.Subject.ToRDNSequence()) == 0 && len(r.DNSNames)+len(r.IPAddresses)+len(r.URIs) == 0 {
		return nil, errors.New("the request has neither a subject nor a name")
	}
	return &x509.CertificateRequest{
		Subject:     r.Subject,
		DNSNames:    r.DNSNames,
		IPAddresses: r.IPAddresses,
		URIs:        r.URIs,
	}, nil
}

// signRequest has the token sign a request, with what it can.
func signRequest(template *x509.CertificateRequest, key *Key) ([]byte, error) {
	template.SignatureAlgorithm = key.schemes[0].x509
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, err
	}
	if err := checkRequest(der, template, key); err != nil {
		return nil, err
	}
	return der, nil
}

// checkRequest fails unless der is what was asked for.
func checkRequest(der []byte, want *x509.CertificateRequest, key *Key) error {
	have, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	if err := have.CheckSignature(); err != nil {
		return fmt.Errorf("%w: the request's signature: %w", ErrMismatch, err)
	}
	if have.SignatureAlgorithm != want.SignatureAlgorithm || !samePublic(have.PublicKey, key.Public()) || !sameNames(have, want) {
		return errors.New("the request does not say what was asked for")
	}
	return nil
}

func sameNames(a, b *x509.CertificateRequest) bool {
	return len(a.DNSNames) == len(b.DNSNames) && len(a.IPAddresses) == len(b.IPAddresses) && len(a.URIs) == len(b.URIs)
}
