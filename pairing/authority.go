// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"net"
	"time"
)

// A pairing CA outlives several generations of POS certificates, and its local
// root several CAs.
const (
	rootLifetime = 20 * 365 * 24 * time.Hour
	caLifetime   = 10 * 365 * 24 * time.Hour
)

// AuthorityRequest returns a certificate request (DER, PKCS #10) for a pairing
// CA, to be signed by the acquirer or the vendor. It asks for what an [Issuer]
// needs: a CA of path length 0, for client authentication only. It costs one
// signature of key.
func AuthorityRequest(key crypto.Signer, subject pkix.Name) ([]byte, error) {
	extensions, err := authorityExtensions()
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{Subject: subject, ExtraExtensions: extensions}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("pairing: sign certificate request: %w", err)
	}
	return der, nil
}

// authorityExtensions are basic constraints, key usage and extended key usage
// (RFC 5280 sections 4.2.1.9, 4.2.1.3 and 4.2.1.12).
func authorityExtensions() ([]pkix.Extension, error) {
	basic, err := asn1.Marshal(struct {
		IsCA       bool
		MaxPathLen int
	}{true, 0})
	if err != nil {
		return nil, err
	}
	usage, err := asn1.Marshal(asn1.BitString{Bytes: []byte{0x06}, BitLength: 7}) // keyCertSign, cRLSign
	if err != nil {
		return nil, err
	}
	extended, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}}) // clientAuth
	if err != nil {
		return nil, err
	}
	return []pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: basic},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: usage},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: extended},
	}, nil
}

// NewLocalRoot returns a self-signed root for a pairing CA that nobody else
// vouches for, valid for twenty years. Its name constraints keep it from
// vouching for any server, whoever may come to trust it. It costs one signature
// of key.
func NewLocalRoot(key crypto.Signer, subject pkix.Name, now time.Time) (*x509.Certificate, error) {
	template, err := authorityTemplate(key.Public(), subject)
	if err != nil {
		return nil, err
	}
	template.MaxPathLen = 1
	template.NotBefore, template.NotAfter = lifetime(now, rootLifetime)
	return sign(template, template, key.Public(), key)
}

// NewLocalAuthority returns the certificate of a pairing CA below a local root,
// valid for ten years and never beyond the root. pub is the key of the CA,
// which must not be that of the root. It costs one signature of rootKey.
func NewLocalAuthority(root *x509.Certificate, rootKey crypto.Signer, pub crypto.PublicKey, subject pkix.Name, now time.Time) (*x509.Certificate, error) {
	if samePublicKey(root.PublicKey, pub) {
		return nil, fmt.Errorf("%w: root and CA have one key", ErrIssuer)
	}
	template, err := authorityTemplate(pub, subject)
	if err != nil {
		return nil, err
	}
	template.MaxPathLenZero = true
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.NotBefore, template.NotAfter = lifetime(now, caLifetime)
	template.NotBefore = latest(template.NotBefore, root.NotBefore)
	if root.NotAfter.Before(template.NotAfter) {
		template.NotAfter = root.NotAfter
	}
	return sign(template, root, pub, rootKey)
}

func lifetime(now time.Time, d time.Duration) (from, until time.Time) {
	from = now.Add(-clockSkew).Truncate(time.Second)
	return from, from.Add(d - time.Second)
}

// noServer is the domain of which nothing exists (RFC 2606 section 2): being
// limited to it, a CA cannot name a server. A constraint on the empty name would
// say more, but Java refuses to read one.
const noServer = "invalid"

func authorityTemplate(pub crypto.PublicKey, subject pkix.Name) (*x509.Certificate, error) {
	if err := checkPublicKey(pub); err != nil {
		return nil, err
	}
	keyID, err := subjectKeyID(pub)
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber:                newSerial(),
		Subject:                     subject,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId:                keyID,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{noServer},
		ExcludedIPRanges: []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		},
	}, nil
}
