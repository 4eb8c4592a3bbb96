// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package est

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/smallstep/pkcs7"

	"github.com/hsmtls/hsmtls-go/internal/largekey"
)

// maxCertificates is how many certificates an answer may have. Finding a chain among
// them takes the square of it in signatures to verify, and nothing stops it.
const maxCertificates = 64

// certificates reads the certificates of an answer. strict wants the parameter
// that RFC 7030 section 4.2.3 asks for, if there is one, to be right.
func (a *answer) certificates(strict bool) ([]*x509.Certificate, error) {
	der, parameters, err := a.payload(typePKCS7)
	if err != nil {
		return nil, err
	}
	if smime := parameters["smime-type"]; strict && smime != "" && smime != "certs-only" {
		return nil, fmt.Errorf("%w: smime-type %.100q, want certs-only", ErrAnswer, smime)
	}
	return parseCertsOnly(der)
}

// parseCertsOnly reads PKCS #7 signed data without content and signers (RFC 5272
// section 4.1), in DER or BER.
func parseCertsOnly(der []byte) ([]*x509.Certificate, error) {
	if err := checkBER(der); err != nil {
		return nil, err
	}
	p7, err := pkcs7.Parse(der)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	case len(p7.Signers) > 0 || len(p7.Content) > 0:
		return nil, fmt.Errorf("%w: PKCS #7 with more than certificates", ErrAnswer)
	case len(p7.Certificates) == 0:
		return nil, fmt.Errorf("%w: no certificates", ErrAnswer)
	case len(p7.Certificates) > maxCertificates:
		return nil, fmt.Errorf("%w: %d certificates, %d are allowed", ErrAnswer, len(p7.Certificates), maxCertificates)
	case slices.ContainsFunc(p7.Certificates, largekey.In):
		return nil, fmt.Errorf("%w: an RSA key of more than %d bits", ErrAnswer, largekey.MaxRSABits)
	}
	return p7.Certificates, nil
}

// chainFor returns the certificate that answers a request, and its issuers among
// the others, in order. A certificate that occurs twice counts once.
func chainFor(request *x509.CertificateRequest, found []*x509.Certificate) ([]*x509.Certificate, error) {
	var mine []*x509.Certificate
	for _, c := range found {
		if isFor(c, request.PublicKey) && !slices.ContainsFunc(mine, c.Equal) {
			mine = append(mine, c)
		}
	}
	if len(mine) != 1 {
		return nil, fmt.Errorf("%w: %d certificates have its public key", ErrOtherKey, len(mine))
	}
	chain := mine
	for {
		top := chain[len(chain)-1]
		next := slices.IndexFunc(found, func(c *x509.Certificate) bool {
			return !slices.ContainsFunc(chain, c.Equal) && bytes.Equal(c.RawSubject, top.RawIssuer) && top.CheckSignatureFrom(c) == nil
		})
		if next < 0 {
			return chain, nil
		}
		chain = append(chain, found[next])
	}
}

func isFor(c *x509.Certificate, public crypto.PublicKey) bool {
	key, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(public)
}
