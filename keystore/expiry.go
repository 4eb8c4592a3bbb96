// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/x509"
	"slices"
	"time"
)

// An Expiry is an identity that comes to its end, or has.
type Expiry struct {
	Alias    string // CKA_LABEL of the certificate
	KeyAlias string // CKA_LABEL of the private key; empty if there is none

	// Certificate is the one of the chain that ends first: the leaf, or an issuer
	// whose end is the end of the leaf too. A root on the token is not looked at,
	// because it is not sent.
	Certificate *x509.Certificate
}

// Left is how long the identity is still valid, negative if it is not any more.
func (e Expiry) Left(now time.Time) time.Duration { return e.Certificate.NotAfter.Sub(now) }

// Expiry returns the identity as one that ends, whenever that is. ok is false for
// a leaf that cannot be read.
func (i IdentityInfo) Expiry() (e Expiry, ok bool) {
	if len(i.Chain) == 0 {
		return Expiry{}, false
	}
	return Expiry{Alias: i.Alias, KeyAlias: i.KeyAlias, Certificate: firstToEnd(i.Chain)}, true
}

// Expiring lists the identities that end within that time from now, and those that
// have ended, the most urgent first. Zero lists those that have ended; an empty
// list is good news. It reads every certificate and private key of the token.
func (s *Store) Expiring(ctx context.Context, within time.Duration) (_ []Expiry, err error) {
	infos, err := s.Identities(ctx)
	if err != nil {
		return nil, err
	}
	expiring := []Expiry{}
	for _, info := range infos {
		if e, ok := info.Expiry(); ok && e.Left(s.now()) <= within {
			expiring = append(expiring, e)
		}
	}
	slices.SortStableFunc(expiring, func(a, b Expiry) int { return a.Certificate.NotAfter.Compare(b.Certificate.NotAfter) })
	return expiring, nil
}

func firstToEnd(chain []*x509.Certificate) *x509.Certificate {
	first := chain[0]
	for _, c := range chain[1:] {
		if c.NotAfter.Before(first.NotAfter) && !selfSigned(c) {
			first = c
		}
	}
	return first
}
