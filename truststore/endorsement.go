// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/smallstep/pkcs7"
)

// ErrEndorsement is in the [*RejectedError] for a certificate whose endorsement
// does not prove it.
var ErrEndorsement = errors.New("endorsement is not good for the certificate")

// maxEndorsement bounds an endorsement: a signature and a few certificates.
const maxEndorsement = 32 << 10

// endorse judges a detached CMS signature (RFC 5652) over the certificate of a
// server, and returns who vouches for it: the certificate that signed, its
// issuers, the anchor. Between are certificates that may be needed on the way.
func endorse(c *x509.Certificate, cms []byte, between issuers, from *anchors, at time.Time) ([]*x509.Certificate, error) {
	if err := endorsable(c, at); err != nil {
		return nil, err
	}
	signed, err := readEndorsement(c, cms)
	if err != nil {
		return nil, &RejectedError{c, fmt.Errorf("%w: %w", ErrEndorsement, err)}
	}
	signer := signed.GetOnlySigner()
	pool := between.above(append([]*x509.Certificate{signer}, signed.Certificates...))
	return endorsers(signer, pool, from, at)
}

// endorsable checks what of a certificate an endorsement cannot mend.
func endorsable(c *x509.Certificate, at time.Time) error {
	if err := check(c, leaf); err != nil {
		return err
	}
	if !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return &RejectedError{c, x509.CertificateInvalidError{Cert: c, Reason: x509.IncompatibleUsage}}
	}
	return current(c, at)
}

// readEndorsement checks the signature, by whomsoever it is. Signed attributes
// are required (RFC 5652 section 5.3), so that nothing that was signed for
// another purpose can be taken for the signature of a certificate.
func readEndorsement(c *x509.Certificate, cms []byte) (*pkcs7.PKCS7, error) {
	if len(cms) > maxEndorsement {
		return nil, fmt.Errorf("it is longer than %d bytes", maxEndorsement)
	}
	p, err := pkcs7.Parse(cms)
	switch {
	case err != nil:
		return nil, err
	case len(p.Content) > 0:
		return nil, errors.New("it is not detached")
	case p.GetOnlySigner() == nil:
		return nil, errors.New("it must have one signer, and the certificate of that")
	case !slices.ContainsFunc(goodDigests, p.Signers[0].DigestAlgorithm.Algorithm.Equal):
		return nil, errors.New("its digest is neither SHA-256 nor SHA-384 nor SHA-512")
	}
	var content asn1.ObjectIdentifier
	if err := p.UnmarshalSignedAttribute(pkcs7.OIDAttributeContentType, &content); err != nil || !content.Equal(pkcs7.OIDData) {
		return nil, errors.New("it has no signed attributes, or is not about data")
	}
	p.Content = c.Raw
	return p, p.Verify()
}

var goodDigests = []asn1.ObjectIdentifier{pkcs7.OIDDigestAlgorithmSHA256, pkcs7.OIDDigestAlgorithmSHA384, pkcs7.OIDDigestAlgorithmSHA512}

// endorsers returns the path from the certificate that signed an endorsement to
// an anchor that may vouch for servers.
func endorsers(signer *x509.Certificate, between *x509.CertPool, from *anchors, at time.Time) ([]*x509.Certificate, error) {
	if err := check(signer, endorser); err != nil {
		return nil, err
	}
	q := question{usage: x509.ExtKeyUsageAny, at: at}
	paths, err := q.paths(signer, between, from.pool)
	if err != nil {
		return nil, err
	}
	var refusal error
	for _, path := range paths {
		err := cmp.Or(checkPath(path), mayEndorse(path))
		if err == nil && from.onlyPOS(path) {
			err = &RejectedError{signer, ErrPairing}
		}
		if err == nil {
			return path, nil
		}
		refusal = cmp.Or(refusal, err)
	}
	return nil, refusal
}

// mayEndorse refuses a path with an issuer that is meant for something else: its
// extended key usage binds those below it, as with servers and clients.
func mayEndorse(path []*x509.Certificate) error {
	for _, c := range path {
		if has(oidExtKeyUsage)(c) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) && !containsOID(c.UnknownExtKeyUsage, oidDocumentSigning) {
			return &RejectedError{c, x509.CertificateInvalidError{Cert: c, Reason: x509.IncompatibleUsage}}
		}
	}
	return nil
}

// oidDocumentSigning is the purpose of RFC 9336, by which nothing of TLS is
// done: a certificate of a server cannot endorse.
var oidDocumentSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 36}

func isOnlyForDocuments(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 1 && c.UnknownExtKeyUsage[0].Equal(oidDocumentSigning)
}
