// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
)

// rootDocument is how an acquirer's server hands out roots.
type rootDocument struct {
	CertificateChain string `json:"certificateChain"`
}

// RootPEM returns certificates as PEM, with LF line ends.
func RootPEM(roots ...*x509.Certificate) []byte { return encodeBundle(nil, roots) }

// RootJSON returns certificates as {"certificateChain":"<PEM>"}.
func RootJSON(roots ...*x509.Certificate) ([]byte, error) {
	return json.Marshal(rootDocument{string(RootPEM(roots...))})
}

// RootHandler serves certificates to GET, for the server where integrators fetch
// the terminals' root: as JSON, or as PEM if the Accept header names
// application/x-pem-file or the query is format=pem.
func RootHandler(roots ...*x509.Certificate) http.Handler {
	text := RootPEM(roots...)
	document, err := RootJSON(roots...)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case err != nil || len(roots) == 0:
			refuseIncomplete.write(w)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			refuseRootMethod.write(w)
		case wantsPEM(r):
			writeRoot(w, bundleMedia, text)
		default:
			writeRoot(w, jsonMediaType, document)
		}
	})
}

var refuseRootMethod = &refusal{
	status: http.StatusMethodNotAllowed, err: ErrRequest,
	message:   "The request was not understood.",
	developer: "the root is fetched with GET",
}

func wantsPEM(r *http.Request) bool {
	return r.URL.Query().Get("format") == "pem" || strings.Contains(r.Header.Get("Accept"), bundleMedia)
}

func writeRoot(w http.ResponseWriter, media string, text []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Vary", "Accept")
	_, _ = w.Write(text) // the client may be gone
}

// A Root says which certificate must stand at the end of a terminal's chain. The
// zero Root accepts none.
type Root struct {
	certs []*x509.Certificate
	pin   *[sha256.Size]byte
}

// IsZero reports whether r accepts no terminal.
func (r Root) IsZero() bool { return len(r.certs) == 0 && r.pin == nil }

// maxRoots bounds a file of roots, in bytes.
const maxRoots = 256 << 10

// ParseRoot reads one or more roots, as PEM or as {"certificateChain":"<PEM>"}.
// Each must be a CA. Errors are [ErrRoot].
func ParseRoot(text []byte) (Root, error) {
	if len(text) > maxRoots {
		return Root{}, fmt.Errorf("%w: longer than %d bytes", ErrRoot, maxRoots)
	}
	text = bytes.TrimSpace(text)
	if bytes.HasPrefix(text, []byte("{")) {
		var d rootDocument
		if err := json.Unmarshal(text, &d); err != nil {
			return Root{}, fmt.Errorf("%w: %w", ErrRoot, err)
		}
		text = []byte(d.CertificateChain)
	}
	var r Root
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != typeCertificate {
			return Root{}, fmt.Errorf("%w: not PEM certificates alone", ErrRoot)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Root{}, fmt.Errorf("%w: %w", ErrRoot, err)
		}
		r.certs = append(r.certs, c)
	}
	return RootOf(r.certs...)
}

// RootOf is the Root of certificates at hand. Each must be a CA.
func RootOf(certs ...*x509.Certificate) (Root, error) {
	for _, c := range certs {
		if c == nil || !c.BasicConstraintsValid || !c.IsCA {
			return Root{}, fmt.Errorf("%w: not a CA", ErrRoot)
		}
	}
	if len(certs) == 0 {
		return Root{}, fmt.Errorf("%w: no certificate", ErrRoot)
	}
	return Root{certs: certs}, nil
}

// ParseFingerprint is the Root whose public key has a SHA-256 fingerprint, in
// hexadecimal with or without colons, or in base64 (RFC 7469 section 2.4), with or
// without "sha256:" or "sha256/" before it. The terminal has to send that root.
func ParseFingerprint(text string) (Root, error) {
	text = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(text), "sha256:"), "sha256/")
	for _, decode := range []func(string) ([]byte, error){
		func(s string) ([]byte, error) { return hex.DecodeString(strings.ReplaceAll(s, ":", "")) },
		base64.StdEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
	} {
		if sum, err := decode(text); err == nil && len(sum) == sha256.Size {
			pin := [sha256.Size]byte(sum)
			return Root{pin: &pin}, nil
		}
	}
	return Root{}, fmt.Errorf("%w: not a SHA-256 fingerprint", ErrRoot)
}

// Fingerprint returns the SHA-256 of a certificate's public key, in the form
// "sha256:" and 64 hexadecimal digits.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}
