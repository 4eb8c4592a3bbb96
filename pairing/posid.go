// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/x509"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxPOSID bounds a POS id, in characters.
const maxPOSID = 64

// The URI that carries the POS id in a certificate. It has a host, of a domain in
// which nothing exists (RFC 2606 section 2), because name constraints could not be
// applied to one without (RFC 5280 section 4.2.1.10).
const (
	posScheme = "hsmtls-pos"
	posHost   = "pairing.invalid"
)

// CheckPOSID returns [ErrPOSID] unless id is 1 to 64 printable characters of
// valid UTF-8, with no space at either end.
func CheckPOSID(id string) error {
	if !utf8.ValidString(id) || strings.TrimSpace(id) != id {
		return ErrPOSID
	}
	if n := utf8.RuneCountInString(id); n < 1 || n > maxPOSID {
		return ErrPOSID
	}
	for _, r := range id {
		if !unicode.IsPrint(r) { // no controls, no bidi overrides, no space but U+0020
			return ErrPOSID
		}
	}
	return nil
}

// posURI is the POS id as a subject alternative name: percent-encoded, so that
// every id fits and none looks like a host.
func posURI(id string) *url.URL {
	return &url.URL{Scheme: posScheme, Host: posHost, Path: "/" + id, RawPath: "/" + url.PathEscape(id)}
}

// POSID returns the id of the POS that a certificate of a pairing CA names, and
// false for any other certificate.
func POSID(cert *x509.Certificate) (id string, ok bool) {
	if cert == nil || len(cert.URIs) != 1 {
		return "", false
	}
	u := cert.URIs[0]
	id, ok = strings.CutPrefix(u.Path, "/")
	if !ok || CheckPOSID(id) != nil || u.String() != posURI(id).String() {
		return "", false
	}
	return id, true
}

// commonName is for people who look at the certificate. The space keeps it from
// being taken for a host name, whatever the id is.
func commonName(id string) string {
	name := []rune("POS " + id)
	return strings.TrimRight(string(name[:min(len(name), maxCommonName)]), " ")
}

// maxCommonName is ub-common-name of RFC 5280 appendix A.1.
const maxCommonName = 64
