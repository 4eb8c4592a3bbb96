// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/x509"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A memory answers from memory what a token would, so that what is measured is
// this package.
type memory struct {
	device
	objects []p11.Certificate
	data    []p11.Data
	read    *int // objects that have been read since they were listed
}

func (m memory) Certificates(context.Context, p11.Filter) ([]p11.Certificate, error) {
	return m.objects, nil
}

func (m memory) Data(context.Context, p11.DataFilter) ([]p11.Data, error) { return m.data, nil }

func (m memory) CertificateObjects(context.Context) ([]p11.Object, error) {
	*m.read = 0
	return make([]p11.Object, len(m.objects)), nil
}

func (m memory) ReadCertificates(_ context.Context, objects []p11.Object) ([]p11.Certificate, error) {
	from := *m.read
	*m.read += len(objects)
	return m.objects[from:*m.read], nil
}

func (m memory) KeepsHandles() bool { return false }

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
	m := memory{read: new(int)}
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
	for _, n := range []int{100, 1000, 10000} {
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

// full returns a store on a SoftHSM token with n entries. The first of each size
// takes its time: SoftHSM writes some hundred objects a second.
func full(b *testing.B, n int) (acquirer, *hsm.Token, *Store) {
	b.Helper()
	a, tok := newAcquirer(), hsmtest.Token(b)
	s, err := Open(b.Context(), tok, a.config())
	if err != nil {
		b.Fatal(err)
	}
	key := a.lower.Key.Public()
	all := func(yield func(Candidate) bool) {
		for i := range n {
			host := a.lower.Issue(testpki.ServerTemplate(fmt.Sprintf("host-%d.example.com", i)), key)
			if !yield(Candidate{fmt.Sprintf("host %d", i), a.sent(host)}) {
				return
			}
		}
	}
	if err := s.InjectAll(b.Context(), all, func(Verdict) {}); err != nil || len(s.Entries()) != n {
		b.Fatalf("%d entries, %v, want %d", len(s.Entries()), err, n)
	}
	return a, tok, s
}

// BenchmarkToken is about a real token: raw is the limit, what it takes to list and
// read all objects and do nothing with them.
func BenchmarkToken(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a, tok, s := full(b, n)
			b.Run("raw", func(b *testing.B) {
				for b.Loop() {
					objects, err := tok.Device().CertificateObjects(b.Context())
					if err == nil {
						_, err = tok.Device().ReadCertificates(b.Context(), objects)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("load", func(b *testing.B) {
				for b.Loop() {
					if _, err := Open(b.Context(), tok, a.config()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(heap(s), "MB")
			})
			b.Run("refresh", func(b *testing.B) {
				for b.Loop() {
					if err := s.Refresh(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("inject", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					name := fmt.Sprintf("more-%d-%d.example.com", b.N, i)
					if _, err := s.Inject(b.Context(), name, a.sent(a.lower.Server(name).Leaf)...); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// heap is what is in use after a collection, in MB, the store included.
func heap(s *Store) float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(s)
	return float64(m.HeapAlloc) / (1 << 20)
}
