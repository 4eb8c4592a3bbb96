// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package testpki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// An EST is the HTTP side of an EST server (RFC 7030): cacerts, csrattrs,
// simpleenroll, simplereenroll. TLS is somebody else's, see [EST.TLSConfig]; the
// server judges the client certificates by itself. Its fields must not be changed
// while it serves.
type EST struct {
	CA *CA

	// Label is the only one it knows. Empty means that it is asked without.
	Label string

	// User and Password admit to simpleenroll. Empty means that only a client
	// certificate of CA does.
	User, Password string

	// Issue makes the certificate of a request. Nil means a client certificate by
	// [CA.SignCSR].
	Issue func(*x509.CertificateRequest) *x509.Certificate

	// Pending is how many enrolments are put off, for RetryAfter seconds.
	Pending    atomic.Int32
	RetryAfter int

	// Wishes is what csrattrs answers, in DER. Nil means 204.
	Wishes []byte

	// Change, if set, changes an answer before it is written: its type and its
	// body.
	Change func(kind string, body []byte) (string, []byte)

	// Asked counts the requests that came.
	Asked atomic.Int32
}

var _ http.Handler = (*EST)(nil)

// TLSConfig returns what an EST server is to be served with: it asks for a client
// certificate and lets the handler judge it.
func (e *EST) TLSConfig(server tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{server},
		ClientAuth:   tls.RequestClientCert,
	}
}

// ServeHTTP answers one request.
func (e *EST) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.Asked.Add(1)
	prefix := "/.well-known/est/"
	if e.Label != "" {
		prefix += e.Label + "/"
	}
	operation, _ := strings.CutPrefix(r.URL.Path, prefix)
	switch r.Method + " " + operation {
	case "GET cacerts":
		e.answer(w, "application/pkcs7-mime", CertsOnly(append([]*x509.Certificate{e.CA.Certificate}, e.CA.above...)...))
	case "GET csrattrs":
		if e.Wishes == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		e.answer(w, "application/csrattrs", e.Wishes)
	case "POST simpleenroll":
		e.enroll(w, r, e.mayEnroll)
	case "POST simplereenroll":
		e.enroll(w, r, e.mayRenew)
	default:
		http.NotFound(w, r)
	}
}

func (e *EST) enroll(w http.ResponseWriter, r *http.Request, may func(*http.Request, *x509.CertificateRequest) (int, string)) {
	csr, err := readRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if code, why := may(r, csr); code != 0 {
		if code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="est"`)
		}
		http.Error(w, why, code)
		return
	}
	if e.Pending.Add(-1) >= 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfter))
		w.WriteHeader(http.StatusAccepted)
		return
	}
	cert := e.issue(csr)
	e.answer(w, "application/pkcs7-mime; smime-type=certs-only", CertsOnly(append([]*x509.Certificate{cert}, e.CA.Chain()...)...))
}

func (e *EST) issue(csr *x509.CertificateRequest) *x509.Certificate {
	if e.Issue != nil {
		return e.Issue(csr)
	}
	return e.CA.SignCSR(csr, x509.ExtKeyUsageClientAuth)
}

// mayEnroll wants the password or a certificate.
func (e *EST) mayEnroll(r *http.Request, _ *x509.CertificateRequest) (int, string) {
	user, password, ok := r.BasicAuth()
	if ok && e.User != "" && user == e.User && password == e.Password {
		return 0, ""
	}
	if e.client(r) != nil {
		return 0, ""
	}
	return http.StatusUnauthorized, "neither a password nor a certificate"
}

// mayRenew wants the certificate that is to be renewed (RFC 7030 section 4.2.2).
func (e *EST) mayRenew(r *http.Request, csr *x509.CertificateRequest) (int, string) {
	present := e.client(r)
	switch {
	case present == nil:
		return http.StatusForbidden, "no certificate of this CA"
	case !bytes.Equal(present.RawSubject, csr.RawSubject) || !bytes.Equal(namesOf(present.Extensions), namesOf(csr.Extensions)):
		return http.StatusBadRequest, "the names are not those of the certificate"
	}
	return 0, ""
}

// client returns the certificate the client has proved, nil if it is not of CA.
func (e *EST) client(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AddCert(e.CA.Certificate)
	leaf := r.TLS.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return nil
	}
	return leaf
}

func (e *EST) answer(w http.ResponseWriter, kind string, der []byte) {
	body := base64.StdEncoding.AppendEncode(nil, der)
	if e.Change != nil {
		kind, body = e.Change(kind, body)
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Transfer-Encoding", "base64")
	_, _ = w.Write(body) // the client may be gone
}

func readRequest(r *http.Request) (*x509.CertificateRequest, error) {
	if r.Header.Get("Content-Type") != "application/pkcs10" {
		return nil, errors.New("not application/pkcs10")
	}
	der, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, io.LimitReader(r.Body, 1<<16)))
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	return csr, csr.CheckSignature()
}
