// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A scheme is one way to sign, under the names that TLS, X.509 and PKCS#11 give
// it. A token can do it if it has one of the two mechanisms.
type scheme struct {
	tls     tls.SignatureScheme // RFC 8446 section 4.2.3
	x509    x509.SignatureAlgorithm
	hash    crypto.Hash
	pss     bool
	raw     p11.Mechanism // signs a digest
	hashing p11.Mechanism // hashes and signs a message
}

// The schemes for RSA keys, in the order in which certificate requests and test
// signatures prefer them: PKCS #1 first, because every CA reads it.
var rsaSchemes = []scheme{
	{tls.PKCS1WithSHA256, x509.SHA256WithRSA, crypto.SHA256, false, p11.RSAPKCS, p11.SHA256RSAPKCS},
	{tls.PKCS1WithSHA384, x509.SHA384WithRSA, crypto.SHA384, false, p11.RSAPKCS, p11.SHA384RSAPKCS},
	{tls.PKCS1WithSHA512, x509.SHA512WithRSA, crypto.SHA512, false, p11.RSAPKCS, p11.SHA512RSAPKCS},
	{tls.PSSWithSHA256, x509.SHA256WithRSAPSS, crypto.SHA256, true, p11.RSAPKCSPSS, p11.SHA256RSAPSS},
	{tls.PSSWithSHA384, x509.SHA384WithRSAPSS, crypto.SHA384, true, p11.RSAPKCSPSS, p11.SHA384RSAPSS},
	{tls.PSSWithSHA512, x509.SHA512WithRSAPSS, crypto.SHA512, true, p11.RSAPKCSPSS, p11.SHA512RSAPSS},
}

// A curve goes with one hash, as RFC 8446 wants it and RFC 5656 and SP 800-57
// advise; TLS 1.2 itself would allow others.
var (
	p256Schemes = []scheme{{tls.ECDSAWithP256AndSHA256, x509.ECDSAWithSHA256, crypto.SHA256, false, p11.ECDSA, p11.ECDSA}}
	p384Schemes = []scheme{{tls.ECDSAWithP384AndSHA384, x509.ECDSAWithSHA384, crypto.SHA384, false, p11.ECDSA, p11.ECDSA}}
)

// schemesFor returns what a token with the mechanisms have can do with a key,
// preferred first. The error wraps [ErrWeak] or [ErrUnsupported].
func schemesFor(public crypto.PublicKey, have p11.Mechanisms) ([]scheme, error) {
	all, err := allSchemes(public)
	if err != nil {
		return nil, err
	}
	var able []scheme
	for _, s := range all {
		if have.Has(s.raw) || have.Has(s.hashing) {
			able = append(able, s)
		}
	}
	if len(able) == 0 {
		return nil, fmt.Errorf("%w: no mechanism that signs with SHA-2 and this kind of key", ErrUnsupported)
	}
	return able, nil
}

func allSchemes(public crypto.PublicKey) ([]scheme, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("%w: RSA key of %d bits", ErrWeak, k.N.BitLen())
		}
		return rsaSchemes, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return p256Schemes, nil
		case elliptic.P384():
			return p384Schemes, nil
		}
		return nil, fmt.Errorf("%w: curve %s", ErrUnsupported, k.Curve.Params().Name)
	}
	return nil, fmt.Errorf("%w: public key %T", ErrUnsupported, public)
}

// opts is what a signer has to be told.
func (s scheme) opts() crypto.SignerOpts {
	if s.pss {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.hash}
	}
	return s.hash
}

// verify checks a signature of message in software.
func (s scheme) verify(public crypto.PublicKey, message, sig []byte) bool {
	h := s.hash.New()
	h.Write(message)
	digest := h.Sum(nil)
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	case *rsa.PublicKey:
		if s.pss {
			return rsa.VerifyPSS(k, s.hash, digest, sig, s.opts().(*rsa.PSSOptions)) == nil
		}
		return rsa.VerifyPKCS1v15(k, s.hash, digest, sig) == nil
	}
	return false
}

// tlsSchemes is the list for [tls.Certificate].
func tlsSchemes(schemes []scheme) []tls.SignatureScheme {
	ids := make([]tls.SignatureScheme, len(schemes))
	for i, s := range schemes {
		ids[i] = s.tls
	}
	return ids
}
