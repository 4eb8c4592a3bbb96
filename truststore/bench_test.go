// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A memory answers from memory what a token would, so that what is measured is
// this package.
type memory struct {
	device
	objects []p11.Certificate
}

func (m memory) Certificates(context.Context, p11.Filter) ([]p11.Certificate, error) {
	return m.objects, nil
}

// filled returns a store with n entries and one of the peers it trusts.
func filled(b *testing.B, n int) (*Store, *x509.Certificate) {
	b.Helper()
	a := newAcquirer()
	key := testpki.NewRoot("key").Key.Public()
	host := a.lower.Issue(testpki.ServerTemplate("host.example.com"), key)
	e := Entry{Alias: "host", Certificate: host, Issuers: certs(a.lower.Certificate, a.upper.Certificate, a.root.Certificate)}
	templates := append(e.issuerTemplates(), e.template())
	for i := range n - 1 {
		c := a.lower.Issue(testpki.ServerTemplate(fmt.Sprintf("host-%d.example.com", i)), key)
		templates = append(templates, Entry{Alias: fmt.Sprintf("host %d", i), Certificate: c}.template())
	}
	var m memory
	for _, t := range templates {
		m.objects = append(m.objects, p11.Certificate{Label: t.Label, ID: t.ID, Value: t.Value, Private: true})
	}
	s, err := open(b.Context(), m, a.config())
	if err != nil || len(s.Entries()) != n {
		b.Fatalf("open = %d entries, %v, want %d", len(s.Entries()), err, n)
	}
	return s, host
}

func BenchmarkRefresh(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _ := filled(b, n)
			for b.Loop() {
				if err := s.Refresh(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/entry")
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, host := filled(b, n)
			now := time.Now()
			for b.Loop() {
				if _, err := s.Verify(certs(host), "host.example.com", serverAuth, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
