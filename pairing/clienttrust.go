// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// posAlias is what the one identity of a POS is called inside a Provider.
const posAlias = "pos"

// bundleKeys is the identity of a paired POS.
type bundleKeys struct{ bundle *Bundle }

func (k bundleKeys) Certificate(context.Context, string) (*tls.Certificate, error) {
	cert := k.bundle.Certificate()
	return &cert, nil
}

// provider is the POS as a TLS client. A nil bundle has no certificate.
func (c *Client) provider(b *Bundle) (*hsmtls.Provider, error) {
	if c.Root.IsZero() {
		return nil, fmt.Errorf("%w: no root", ErrIncomplete)
	}
	p := &hsmtls.Provider{Trust: rootTrust{c.Root}, Policy: c.Policy, Now: c.Now}
	if b == nil {
		return p, nil
	}
	if b.Key == nil || len(b.Chain) < 2 {
		return nil, fmt.Errorf("%w: bundle has no key or no chain", ErrIncomplete)
	}
	p.Keys = bundleKeys{b}
	return p, nil
}

// rootTrust accepts servers whose chain ends in the root.
type rootTrust struct{ root Root }

func (t rootTrust) Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	if len(chain) == 0 || name == "" || usage != x509.ExtKeyUsageServerAuth {
		return nil, ErrRoot
	}
	roots, err := t.root.among(chain[1:])
	if err != nil {
		return nil, err
	}
	opts := x509.VerifyOptions{
		DNSName: name, Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage},
	}
	for _, c := range roots {
		opts.Roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	found, err := chain[0].Verify(opts)
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return nil, fmt.Errorf("%w: %w", ErrRoot, err)
	}
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// among returns the roots to verify with. One that is known by its fingerprint
// has to be among what the server sent, and to be signed with its own key: the
// fingerprint vouches for the key, not for the rest of the certificate.
func (r Root) among(sent []*x509.Certificate) ([]*x509.Certificate, error) {
	if r.pin == nil {
		return r.certs, nil
	}
	for _, c := range sent {
		if sha256.Sum256(c.RawSubjectPublicKeyInfo) == *r.pin && c.IsCA && c.CheckSignatureFrom(c) == nil {
			return []*x509.Certificate{c}, nil
		}
	}
	return nil, fmt.Errorf("%w: the terminal sends none with this fingerprint", ErrRoot)
}
