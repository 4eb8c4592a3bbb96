// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package testpki is a certification authority in memory, for tests, examples
// and the demo. What it issues satisfies the profile of package truststore.
// Its keys are ordinary variables: nothing here is fit for production.
//
// The functions panic on failure.
package testpki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"time"
)

const (
	year = 365 * 24 * time.Hour

	rootLife         = 10 * year
	intermediateLife = 5 * year
	leafLife         = year
)

// A CA issues certificates. It is safe for concurrent use.
type CA struct {
	Certificate *x509.Certificate
	Key         crypto.Signer

	above []*x509.Certificate // issuers of Certificate, root excluded, nearest first
}

// NewRoot returns a self-signed P-256 root with name as its common name, valid
// from one hour ago for ten years.
func NewRoot(name string) *CA { return NewRootWithKey(name, newKey()) }

// NewRootWithKey is [NewRoot] for a key of another kind.
func NewRootWithKey(name string, key crypto.Signer) *CA {
	template := caTemplate(name, rootLife)
	complete(template, key.Public())
	return &CA{Certificate: sign(template, template, key.Public(), key), Key: key}
}

// NewIntermediate returns a CA below c with a fresh P-256 key, valid for five
// years.
func (c *CA) NewIntermediate(name string) *CA {
	key := newKey()
	cert := c.Issue(caTemplate(name, intermediateLife), key.Public())
	return &CA{Certificate: cert, Key: key, above: c.Chain()}
}

// Chain returns what has to be sent below a leaf of c: the certificate of c and
// those above it, without the root. It is empty for a root.
func (c *CA) Chain() []*x509.Certificate {
	if string(c.Certificate.RawIssuer) == string(c.Certificate.RawSubject) {
		return nil
	}
	return append([]*x509.Certificate{c.Certificate}, c.above...)
}

// Issue signs a certificate for pub. It copies template and fills what is zero
// in it: serial number, dates, subject key id and key usage.
func (c *CA) Issue(template *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t := *template
	complete(&t, pub)
	if t.NotAfter.After(c.Certificate.NotAfter) && template.NotAfter.IsZero() {
		t.NotAfter = c.Certificate.NotAfter
	}
	return sign(&t, c.Certificate, pub, c.Key)
}

// Server returns a server certificate with a fresh P-256 key. Names are DNS
// names or IP addresses; the first is the common name too.
func (c *CA) Server(names ...string) tls.Certificate {
	key := newKey()
	return c.bundle(c.Issue(ServerTemplate(names...), key.Public()), key)
}

// Client returns a client certificate with a fresh P-256 key and name as its
// common name. A name that is no host name, such as "till 4", appears in the
// subject alternative name as "till-4.test".
func (c *CA) Client(name string) tls.Certificate {
	key := newKey()
	return c.bundle(c.Issue(ClientTemplate(name), key.Public()), key)
}

// SignCSR answers a certificate request after checking its signature. A request
// without subject alternative names gets one from its common name, as in
// [CA.Client].
func (c *CA) SignCSR(csr *x509.CertificateRequest, usage x509.ExtKeyUsage) *x509.Certificate {
	must(0, csr.CheckSignature())
	t := &x509.Certificate{
		Subject:     csr.Subject,
		DNSNames:    csr.DNSNames,
		IPAddresses: csr.IPAddresses,
		URIs:        csr.URIs,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	if len(t.DNSNames)+len(t.IPAddresses)+len(t.URIs) == 0 {
		addNames(t, hostFor(csr.Subject.CommonName))
	}
	return c.Issue(t, csr.PublicKey)
}

// PEM encodes certificates one after the other.
func PEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func (c *CA) bundle(leaf *x509.Certificate, key crypto.Signer) tls.Certificate {
	bundle := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, issuer := range c.Chain() {
		bundle.Certificate = append(bundle.Certificate, issuer.Raw)
	}
	return bundle
}

func caTemplate(name string, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{"hsmtls test"}},
		NotAfter:              time.Now().Add(life),
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

func sign(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	der := must(x509.CreateCertificate(rand.Reader, template, parent, pub, key))
	return must(x509.ParseCertificate(der))
}

func newKey() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic("testpki: " + err.Error())
	}
	return v
}
