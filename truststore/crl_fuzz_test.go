// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"fmt"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// Whatever bytes there are get an answer, and without the signature of an issuer
// the answer is no: to be injected, and to be read from the token.
func FuzzCRL(f *testing.F) {
	root := testpki.NewRoot("root")
	other := crlOf(f, testpki.NewRoot("root"), 1, root.Certificate)
	for _, der := range [][]byte{other.Raw, manySerials(f, testpki.NewRoot("stranger"), 3).Raw, {}, []byte("junk")} {
		f.Add(der)
	}
	a := &anchors{pool: poolOf(certs(root.Certificate)), all: certs(root.Certificate), pairing: map[string]bool{}}
	s := newSnapshot(a, nil, nil, nil)
	f.Fuzz(func(t *testing.T, der []byte) {
		if _, err := s.readCRL(der, nil, time.Now()); err == nil {
			t.Errorf("CRL of a stranger is accepted: %x", der)
		}
		for _, private := range []bool{false, true} {
			d := p11.Data{Value: der, Private: private}
			if _, err := readMark(d); err == nil && !private {
				t.Errorf("public record is obeyed: %x", der)
			}
			if _, err := readDenial(d); err == nil && !private {
				t.Errorf("public record is obeyed: %x", der)
			}
		}
	})
}

func BenchmarkVerifyWithCRL(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, host := filled(b, 10)
			now := s.snapshot()
			r := &revocations{lists: map[issuerID]*revocationList{}}
			if n > 0 {
				for _, c := range now.entries[0].Issuers {
					r.lists[issuerIDOf(c)] = newList(manySerials(b, testpki.NewRoot("many"), n), c)
				}
			}
			s.publish(now.revoking(r, time.Now()))
			at := time.Now()
			for b.Loop() {
				if _, err := s.Verify(certs(host), "host.example.com", serverAuth, at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
