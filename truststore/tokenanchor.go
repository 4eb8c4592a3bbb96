// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// An AnchorKind says whose root an anchor on the token is, and so what it
// vouches for.
type AnchorKind string

// The kinds of anchors.
const (
	// OwnerAnchor is the root of the terminal's owner. It vouches for the other
	// anchors on its token and for no entry. Once it is there, no anchor comes to
	// the token that it has not signed, and it cannot be removed, only replaced
	// by one that it has signed.
	OwnerAnchor AnchorKind = "owner"

	AcquirerAnchor AnchorKind = "acquirer" // as [Anchors].Acquirer
	VendorAnchor   AnchorKind = "vendor"   // as [Anchors].Vendor
	PairingAnchor  AnchorKind = "pairing"  // as [Anchors].Pairing
)

var anchorKinds = []AnchorKind{OwnerAnchor, AcquirerAnchor, VendorAnchor, PairingAnchor}

// What can be wrong with an anchor on the token.
var (
	// ErrOwner is returned by [AddAnchor] for a root that the owner root on the
	// token has not signed, and by [RemoveAnchor] for the owner root itself.
	ErrOwner = errors.New("the owner root of the token does not allow it")

	// ErrAnchorUsage is returned by [AddAnchor] for a root whose key may be used
	// for more than certificates and CRLs.
	ErrAnchorUsage = errors.New("key usage of a root must be keyCertSign and cRLSign at most")

	// ErrUnofficial marks a certificate that claims to be an anchor without the
	// security officer's mark: anybody may have written it.
	ErrUnofficial = errors.New("claims to be an anchor, but is not marked by the security officer")
)

// A TokenAnchor is a root on the token, written by the security officer.
type TokenAnchor struct {
	Kind        AnchorKind
	Certificate *x509.Certificate // never nil
}

// Fingerprint returns the SHA-256 of the certificate.
func (a TokenAnchor) Fingerprint() [32]byte { return sha256.Sum256(a.Certificate.Raw) }

func (a TokenAnchor) template() p11.CertificateTemplate {
	return p11.CertificateTemplate{
		Label:    alias.AnchorLabel(string(a.Kind), a.Certificate.Raw),
		ID:       alias.AnchorID(string(a.Kind), a.Certificate.Raw),
		Value:    a.Certificate.Raw,
		Category: p11.CategoryAuthority,
	}
}

// readAnchor reads an object that has the id of an anchor. That the security
// officer has marked it, is what makes it one.
func readAnchor(o p11.Certificate) (TokenAnchor, error) {
	cert, err := x509.ParseCertificate(o.Value)
	if err != nil {
		return TokenAnchor{}, err
	}
	kind, ok := alias.AnchorKind(o.ID, cert.Raw)
	switch {
	case !o.Trusted:
		return TokenAnchor{}, ErrUnofficial
	case !ok || !slices.Contains(anchorKinds, AnchorKind(kind)):
		return TokenAnchor{}, ErrMarked
	}
	return TokenAnchor{AnchorKind(kind), cert}, checkAnchor(cert)
}

// With returns Anchors with those on a token beside the caller's. Owner roots
// vouch for no entry, so they are left out.
func (a Anchors) with(found []TokenAnchor) Anchors {
	a = Anchors{slices.Clone(a.Acquirer), slices.Clone(a.Vendor), slices.Clone(a.Pairing)}
	for _, f := range found {
		switch f.Kind {
		case AcquirerAnchor:
			a.Acquirer = append(a.Acquirer, f.Certificate)
		case VendorAnchor:
			a.Vendor = append(a.Vendor, f.Certificate)
		case PairingAnchor:
			a.Pairing = append(a.Pairing, f.Certificate)
		}
	}
	return a
}
