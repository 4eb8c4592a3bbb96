// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// Whatever parses as a certificate gets an answer, and without an issuer the
// answer is no.
func FuzzVerifyChain(f *testing.F) {
	root := testpki.NewRoot("root")
	issuing := constrainedRoot(root)
	for _, c := range certs(root.Certificate, issuing, root.Server("host.example.com", "192.0.2.1").Leaf, root.Client("till 4").Leaf) {
		f.Add(c.Raw)
	}
	other := certs(testpki.NewRoot("other").Certificate)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		for _, r := range profile {
			r.ok(c)
		}
		if _, err := VerifyChain(other, certs(c), "", serverAuth, time.Now()); err == nil {
			t.Errorf("VerifyChain accepted a stranger: %x", der)
		}
	})
}

func constrainedRoot(parent *testpki.CA) *x509.Certificate {
	return caWith(parent, func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.ExcludedURIDomains, c.PermittedDNSDomainsCritical = []string{"example.com"}, []string{".example.net"}, true
	}).Certificate
}
