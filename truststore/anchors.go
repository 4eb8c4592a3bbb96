// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
)

// Anchors are the roots that vouch for entries. They are the caller's: compiled
// in, or read from where only the owner can write. At least one is required.
// A peer is not trusted for having an anchor as its issuer.
type Anchors struct {
	Acquirer []*x509.Certificate
	Vendor   []*x509.Certificate

	// Pairing are roots, or CAs, that vouch for the certificates of paired
	// point-of-sale systems and for nothing else: for clients, not for servers
	// and not for issuing CAs. What is also Acquirer or Vendor is not held to
	// that.
	Pairing []*x509.Certificate
}

// anchors are Anchors, checked.
type anchors struct {
	pool    *x509.CertPool
	all     []*x509.Certificate
	pairing map[string]bool // by DER

	onToken []TokenAnchor // those of all that are on the token, and owner roots
	missing [][sha256.Size]byte
}

func (a Anchors) checked() (*anchors, error) {
	if whole(slices.Concat(a.Acquirer, a.Vendor, a.Pairing)) != nil {
		return nil, ErrNoAnchors
	}
	return a.each()
}

// each checks anchors that may be none.
func (a Anchors) each() (*anchors, error) {
	full := slices.Concat(a.Acquirer, a.Vendor)
	all := slices.Concat(full, a.Pairing)
	if slices.Contains(all, nil) {
		return nil, ErrNoAnchors
	}
	for _, c := range all {
		if err := checkAnchor(c); err != nil {
			return nil, err
		}
	}
	checked := &anchors{pool: poolOf(all), all: all, pairing: make(map[string]bool)}
	for _, c := range a.Pairing {
		if !slices.ContainsFunc(full, c.Equal) {
			checked.pairing[string(c.Raw)] = true
		}
	}
	return checked, nil
}

// cut leaves out what is above the first anchor in a chain.
func (a *anchors) cut(chain []*x509.Certificate) []*x509.Certificate {
	for i, c := range chain {
		if slices.ContainsFunc(a.all, c.Equal) {
			return chain[:i+1]
		}
	}
	return chain
}

// onlyPOS reports whether a path ends in an anchor for paired systems.
func (a *anchors) onlyPOS(path []*x509.Certificate) bool {
	return a.pairing[string(path[len(path)-1].Raw)]
}

// vouch says whether the anchor at the end of a path may vouch for the
// certificate at its beginning.
func (a *anchors) vouch(path []*x509.Certificate) error {
	if !a.onlyPOS(path) {
		return nil
	}
	if c := path[0]; c.IsCA || !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		return &RejectedError{c, ErrPairing}
	}
	return nil
}
