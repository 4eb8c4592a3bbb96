// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"
)

const (
	maxLifetime = 825 * 24 * time.Hour
	serialSize  = 16              // bytes, all random (RFC 5280 section 4.1.2.2 allows 20)
	clockSkew   = 5 * time.Minute // how far back a certificate's validity begins
)

// An Issuer is a pairing CA: it signs the certificates of POS. Its fields must
// not be changed while it is in use; it is then safe for concurrent use.
type Issuer struct {
	// Key is the private key of Chain[0], usually in the token. Required.
	Key crypto.Signer
	// Chain is the certificate of the pairing CA and those above it, the
	// self-signed root last. Required. The CA must be for client
	// authentication only and have path length 0.
	Chain []*x509.Certificate
	// Lifetime is how long a certificate is valid, never beyond any of Chain.
	// Zero means 825 days, which is also the most.
	Lifetime time.Duration
}

// Issue returns a client certificate for the POS posID with the public key pub,
// valid from five minutes before now, followed by Chain. The subject
// alternative name holds the POS id; [POSID] reads it. Errors: [*IssuerError],
// [ErrPOSID], [ErrCSR] for a weak key, and those of Key. It costs one signature.
func (i *Issuer) Issue(posID string, pub crypto.PublicKey, now time.Time) ([]*x509.Certificate, error) {
	return i.issue(order{posID: posID, pub: pub, now: now})
}

// An order is one certificate to be made.
type order struct {
	posID string
	pub   crypto.PublicKey
	now   time.Time
	after time.Time // the certificate must begin later than that
}

func (i *Issuer) issue(o order) ([]*x509.Certificate, error) {
	if err := i.check(o.now); err != nil {
		return nil, err
	}
	if err := CheckPOSID(o.posID); err != nil {
		return nil, err
	}
	if err := checkPublicKey(o.pub); err != nil {
		return nil, err
	}
	template, err := i.template(o)
	if err != nil {
		return nil, err
	}
	leaf, err := sign(template, i.Chain[0], o.pub, i.Key)
	if err != nil {
		return nil, err
	}
	chain := slices.Concat([]*x509.Certificate{leaf}, i.Chain)
	if err := checkPath(chain, latest(o.now, leaf.NotBefore)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIssuer, err)
	}
	return chain, nil
}

func (i *Issuer) template(o order) (*x509.Certificate, error) {
	keyID, err := subjectKeyID(o.pub)
	if err != nil {
		return nil, err
	}
	from, until := i.validity(o)
	return &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: commonName(o.posID)},
		NotBefore:    from,
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:         []*url.URL{posURI(o.posID)},
		SubjectKeyId: keyID,
	}, nil
}

// validity begins a little in the past, for clocks that are late, but later
// than what the certificate takes the place of: that is how the two are told
// apart. If that one begins in the future, somebody has set the clock back.
func (i *Issuer) validity(o order) (from, until time.Time) {
	from = o.now.Add(-clockSkew)
	if after := o.after.Add(time.Second); !after.After(o.now) {
		from = latest(from, after)
	}
	until = from.Add(i.lifetime() - time.Second) // both ends count (RFC 5280 section 4.1.2.5)
	for _, c := range i.Chain {
		from = latest(from, c.NotBefore)
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return from.Truncate(time.Second), until
}

func (i *Issuer) lifetime() time.Duration {
	if i.Lifetime == 0 {
		return maxLifetime
	}
	return i.Lifetime
}

// checkPath verifies chain, which ends in a self-signed root, for clients.
func checkPath(chain []*x509.Certificate, at time.Time) error {
	root := chain[len(chain)-1]
	if !bytes.Equal(root.RawIssuer, root.RawSubject) {
		return fmt.Errorf("chain ends in %q, which is no root", root.Subject)
	}
	if err := root.CheckSignatureFrom(root); err != nil {
		return err
	}
	for n, c := range chain[1:] {
		if err := chain[n].CheckSignatureFrom(c); err != nil {
			return fmt.Errorf("%q does not sign %q: %w", c.Subject, chain[n].Subject, err)
		}
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// sign makes a certificate. The algorithm follows from the CA's key; SHA-256 at
// least (crypto/x509).
func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("pairing: sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// newSerial returns 128 random bits as a positive number.
func newSerial() *big.Int {
	for {
		var random [serialSize]byte
		rand.Read(random[:])
		if serial := new(big.Int).SetBytes(random[:]); serial.Sign() > 0 {
			return serial
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
