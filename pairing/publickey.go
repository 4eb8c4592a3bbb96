// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
)

const (
	minRSABits     = 2048 // RFC 9325 section 4.5
	maxRSABits     = 8192 // what crypto/tls verifies
	minRSAExponent = 65537
)

// requestAlgorithms are what a certificate request may be signed with: no SHA-1,
// which [x509.CertificateRequest.CheckSignature] lets through.
var requestAlgorithms = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
}

// parseCSR returns the public key of a PEM certificate request whose holder has
// proved that he has the private one. Nothing else in it is looked at: what the
// certificate says is the terminal's choice.
func parseCSR(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(block.Headers) > 0 || len(rest) > 0 {
		return nil, fmt.Errorf("%w: want one PEM block, CERTIFICATE REQUEST", ErrCSR)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCSR, err)
	}
	if err := checkPublicKey(csr.PublicKey); err != nil {
		return nil, err
	}
	if !slices.Contains(requestAlgorithms, csr.SignatureAlgorithm) {
		return nil, fmt.Errorf("%w: signature algorithm %v", ErrCSR, csr.SignatureAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCSR, err)
	}
	return csr.PublicKey, nil
}

// checkPublicKey accepts RSA of 2048 to 8192 bits in whole bytes, and the curves
// P-256, P-384 and P-521.
func checkPublicKey(pub crypto.PublicKey) error {
	switch key := pub.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		if bits < minRSABits || bits > maxRSABits || bits%8 != 0 || key.E < minRSAExponent || key.E%2 == 0 {
			return fmt.Errorf("%w: RSA key of %d bits with exponent %d", ErrCSR, bits, key.E)
		}
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return fmt.Errorf("%w: curve %s", ErrCSR, key.Curve.Params().Name)
		}
	default:
		return fmt.Errorf("%w: key of type %T", ErrCSR, pub)
	}
	return nil
}

// subjectKeyID is method 1 of RFC 7093 section 2, which needs no SHA-1.
func subjectKeyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &spki); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(spki.Key.Bytes)
	return sum[:20], nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	one, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && one.Equal(b)
}
