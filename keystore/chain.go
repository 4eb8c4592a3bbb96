// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/largekey"
)

// maxChain is the length of the longest chain, leaf and root included.
const maxChain = 8

// strongSignatures are those without MD5 and SHA-1, over keys that are allowed.
var strongSignatures = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
}

// checkChain decides whether a chain may be injected: leaf first, each
// certificate signed by the next, all of them strong and valid now, the leaf
// one that a TLS peer presents. The last need not be a root; nothing is said of
// whether anybody trusts it. The error is a [*ChainError] or wraps [ErrChain].
func checkChain(chain []*x509.Certificate, now time.Time) error {
	return checkChainOf(chain, now, checkLeaf)
}

// checkChainOf is checkChain with another condition for the first certificate.
func checkChainOf(chain []*x509.Certificate, now time.Time, checkFirst func(*x509.Certificate) error) error {
	switch {
	case len(chain) == 0 || slices.Contains(chain, nil):
		return fmt.Errorf("%w: there is no certificate", ErrChain)
	case len(chain) > maxChain:
		return fmt.Errorf("%w: %d certificates, %d are allowed", ErrChain, len(chain), maxChain)
	}
	for i, c := range chain {
		if err := checkOne(c, now); err != nil {
			return &ChainError{c, err}
		}
		if slices.ContainsFunc(chain[:i], c.Equal) {
			return &ChainError{c, fmt.Errorf("%w: it is there twice", ErrChain)}
		}
	}
	if err := checkFirst(chain[0]); err != nil {
		return &ChainError{chain[0], err}
	}
	return checkLinks(chain, now)
}

// checkAuthority is what the certificate of an issuing key has to satisfy (RFC
// 5280 sections 4.2.1.3 and 4.2.1.9).
func checkAuthority(c *x509.Certificate) error {
	switch {
	case !c.IsCA:
		return fmt.Errorf("%w: the first certificate is no CA", ErrChain)
	case c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%w: key usage without keyCertSign", ErrChain)
	}
	return nil
}

// checkOne is what every certificate of a chain has to satisfy by itself.
func checkOne(c *x509.Certificate, now time.Time) error {
	if err := checkStrong(c); err != nil {
		return err
	}
	return checkDates(c, now)
}

func checkDates(c *x509.Certificate, now time.Time) error {
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		detail := fmt.Sprintf("valid from %v to %v, and now is %v", c.NotBefore, c.NotAfter, now.UTC().Truncate(time.Second))
		return x509.CertificateInvalidError{Cert: c, Reason: x509.Expired, Detail: detail}
	}
	return nil
}

// checkStrong refuses weak keys and signatures (RFC 9325 sections 4.5 and 4.1).
func checkStrong(c *x509.Certificate) error {
	if !slices.Contains(strongSignatures, c.SignatureAlgorithm) {
		return fmt.Errorf("%w: signature algorithm %v", ErrWeak, c.SignatureAlgorithm)
	}
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return fmt.Errorf("%w: RSA key of %d bits", ErrWeak, k.N.BitLen())
		}
		return nil
	case *ecdsa.PublicKey:
		if slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			return nil
		}
	}
	return fmt.Errorf("%w: public key algorithm %v", ErrWeak, c.PublicKeyAlgorithm)
}

// checkLeaf is what a certificate for TLS authentication has to satisfy (RFC
// 5280 sections 4.2.1.3, 4.2.1.9 and 4.2.1.12).
func checkLeaf(c *x509.Certificate) error {
	switch {
	case c.IsCA:
		return fmt.Errorf("%w: the first certificate is a CA, the order is leaf first", ErrChain)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("%w: key usage without digitalSignature", ErrChain)
	case !forTLS(c):
		return fmt.Errorf("%w: extended key usage without client or server authentication", ErrChain)
	}
	return nil
}

func forTLS(c *x509.Certificate) bool {
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.ContainsFunc(c.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
		return u == x509.ExtKeyUsageAny || u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageServerAuth
	})
}

// checkLinks verifies each signature, then lets crypto/x509 look at the whole
// for path length, name constraints and critical extensions.
func checkLinks(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain[1:] {
		if below := chain[i]; !issued(c, below) {
			return &ChainError{below, fmt.Errorf("%w: it is not signed by the next one, %q", ErrChain, c.Subject)}
		}
	}
	options := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	options.Roots.AddCert(chain[len(chain)-1])
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return &ChainError{chain[0], err}
	}
	return nil
}

// issued reports whether issuer signed c: by name, by key id where both have
// one, and by signature.
func issued(issuer, c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, issuer.RawSubject) && keyIDsAgree(issuer, c) && !largekey.In(issuer) && c.CheckSignatureFrom(issuer) == nil
}

func keyIDsAgree(issuer, c *x509.Certificate) bool {
	return len(c.AuthorityKeyId) == 0 || len(issuer.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId)
}

// selfSigned reports whether c is signed with its own key, so that nothing can
// come after it in a chain. A certificate by which a CA goes over to a new key
// has its own name as issuer too, and is not meant.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && !largekey.In(c) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// A finder returns the certificates with that subject that may serve as issuers.
type finder func(ctx context.Context, subject []byte) ([]*x509.Certificate, error)

// walk builds the chain above a leaf out of what find returns. It ends at a
// self-signed certificate, or where no issuer is found, or, with an error, at a
// weak one or after maxChain certificates. A weak root is not part of the chain
// and no error, because roots are not sent.
func walk(ctx context.Context, from *x509.Certificate, find finder) ([]*x509.Certificate, error) {
	chain := []*x509.Certificate{from}
	for len(chain) <= maxChain {
		top := chain[len(chain)-1]
		if selfSigned(top) {
			return chain, nil
		}
		found, err := find(ctx, top.RawIssuer)
		if err != nil {
			return nil, err
		}
		next := bestIssuer(top, found, chain)
		if next == nil {
			return chain, nil
		}
		if err := checkStrong(next); err != nil {
			if bytes.Equal(next.RawIssuer, next.RawSubject) {
				return chain, nil
			}
			return nil, &ChainError{next, err}
		}
		chain = append(chain, next)
	}
	return nil, &ChainError{from, fmt.Errorf("%w: more than %d certificates", ErrChain, maxChain)}
}

// bestIssuer chooses among certificates of one CA key, which is what all that
// verify are: strong before weak, then the one that is valid longest, then the
// smallest encoding, so that the choice does not depend on the token's order.
// It returns nil if none verifies.
func bestIssuer(c *x509.Certificate, found, chain []*x509.Certificate) *x509.Certificate {
	var best *x509.Certificate
	for _, f := range found {
		if issued(f, c) && !slices.ContainsFunc(chain, f.Equal) && (best == nil || preferred(f, best)) {
			best = f
		}
	}
	return best
}

func preferred(a, b *x509.Certificate) bool {
	if strong := checkStrong(a) == nil; strong != (checkStrong(b) == nil) {
		return strong
	}
	if !a.NotAfter.Equal(b.NotAfter) {
		return a.NotAfter.After(b.NotAfter)
	}
	return bytes.Compare(a.Raw, b.Raw) < 0
}

// beginsWith reports whether chain begins with the certificates of head.
func beginsWith(chain, head []*x509.Certificate) bool {
	return len(chain) >= len(head) && slices.EqualFunc(chain[:len(head)], head, (*x509.Certificate).Equal)
}
