// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
)

const (
	maxChain   = 8    // certificates, more than any real hierarchy has
	minRSABits = 2048 // RFC 9325 section 4.5
)

// checkChain holds every certificate of a presented or accepted chain to the
// policy, whatever the trust store thinks of it. The signature of a pinned
// leaf or of a root counts as well: crypto/x509 does not look at those.
func checkChain(chain []*x509.Certificate) error {
	if len(chain) > maxChain {
		return &PolicyError{Rule: RuleChainLength, Detail: fmt.Sprintf("%d certificates, at most %d", len(chain), maxChain)}
	}
	for _, cert := range chain {
		if err := checkCertificate(cert); err != nil {
			return err
		}
	}
	return nil
}

func checkCertificate(cert *x509.Certificate) error {
	if !strongSignature(cert.SignatureAlgorithm) {
		return &PolicyError{RuleCertificateSignature, cert.SignatureAlgorithm.String(), cert}
	}
	return checkKey(cert)
}

// strongSignature reports whether a certificate may be signed with alg
// (RFC 9325 section 4.5: SHA-256 or better).
func strongSignature(alg x509.SignatureAlgorithm) bool {
	switch alg {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		return true
	}
	return false
}

func checkKey(cert *x509.Certificate) error {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < minRSABits || n > maxRSASize {
			return &PolicyError{RuleCertificateKey, fmt.Sprintf("RSA of %d bits", n), cert}
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return &PolicyError{RuleCertificateKey, "curve " + key.Curve.Params().Name, cert}
		}
	default:
		return &PolicyError{RuleCertificateKey, "key of type " + cert.PublicKeyAlgorithm.String(), cert}
	}
	return nil
}

// checkUsage demands that a leaf names usage itself: neither an absent extended
// key usage nor anyExtendedKeyUsage will do, so that a client certificate never
// authenticates a server.
func checkUsage(leaf *x509.Certificate, usage x509.ExtKeyUsage) error {
	if slices.Contains(leaf.ExtKeyUsage, usage) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return nil
	}
	return &PolicyError{RuleCertificateUsage, "no " + usageName(usage), leaf}
}

func usageName(usage x509.ExtKeyUsage) string {
	if usage == x509.ExtKeyUsageServerAuth {
		return "serverAuth"
	}
	return "clientAuth"
}
