// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// RenewalTime is how long before its certificate expires a POS should renew it, and
// a pairing CA should be replaced.
const RenewalTime = 30 * 24 * time.Hour

// An IssuerError is what is wrong with a pairing CA. It wraps [ErrIncomplete] for
// a field that is missing, [ErrIssuer] for a CA that may not issue, or
// [ErrExpiring] for one that can, but not for much longer.
type IssuerError struct {
	// Certificate is that of the CA, or with [ErrExpiring] the one of its chain
	// that ends first. Nil if there is none.
	Certificate *x509.Certificate
	// Err is the reason.
	Err error

	kind error
}

func (e *IssuerError) Error() string   { return fmt.Sprintf("%v: %v", e.kind, e.Err) }
func (e *IssuerError) Unwrap() []error { return []error{e.kind, e.Err} }

// Check says whether the CA is complete and can issue, for a program to know when
// it starts; [Terminal.Serve] asks too. The error is an [*IssuerError]. One that
// is [ErrExpiring] leaves time to act: the CA, or one above it, expires within
// [RenewalTime], and so do the certificates it issues. It does not reach the token.
func (i *Issuer) Check(now time.Time) error {
	if err := i.check(now); err != nil {
		return err
	}
	first := slices.MinFunc(i.Chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	if now.Add(RenewalTime).After(first.NotAfter) {
		return &IssuerError{first, fmt.Errorf("%q is valid until %s", first.Subject, first.NotAfter.UTC().Format(time.RFC3339)), ErrExpiring}
	}
	return nil
}

// check says what keeps the CA from issuing at this time.
func (i *Issuer) check(now time.Time) error {
	switch {
	case i == nil || i.Key == nil:
		return &IssuerError{nil, errors.New("no CA key"), ErrIncomplete}
	case len(i.Chain) < 2 || slices.Contains(i.Chain, nil):
		return &IssuerError{nil, errors.New("chain of the CA must hold its certificate and the root"), ErrIncomplete}
	}
	if err := i.problem(now); err != nil {
		return &IssuerError{i.Chain[0], err, ErrIssuer}
	}
	if i.Lifetime < 0 || i.Lifetime > maxLifetime {
		return &IssuerError{i.Chain[0], fmt.Errorf("lifetime %v is not within %v", i.Lifetime, maxLifetime), ErrIncomplete}
	}
	return nil
}

func (i *Issuer) problem(now time.Time) error {
	if err := checkAuthority(i.Chain[0]); err != nil {
		return err
	}
	if !samePublicKey(i.Chain[0].PublicKey, i.Key.Public()) {
		return errors.New("key does not belong to the certificate")
	}
	return checkPath(i.Chain, now)
}

// checkAuthority demands a CA that can vouch for clients and for no CA below.
func checkAuthority(c *x509.Certificate) error {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%q is no CA", c.Subject)
	case !c.MaxPathLenZero || c.MaxPathLen != 0:
		return fmt.Errorf("path length of %q is not 0", c.Subject)
	case !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(c.UnknownExtKeyUsage) > 0:
		return fmt.Errorf("extended key usage of %q is not clientAuth alone", c.Subject)
	case len(c.SubjectKeyId) == 0:
		return fmt.Errorf("%q has no subject key identifier", c.Subject)
	}
	return nil
}
