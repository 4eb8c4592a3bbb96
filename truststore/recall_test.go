// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// recalling returns a snapshot that has accepted a server once, and the chain that the
// server sent.
func recalling(t *testing.T) (s *snapshot, sent []*x509.Certificate, q question) {
	a := newAcquirer()
	host := a.lower.Server("host.example.com")
	from := &anchors{pool: poolOf(certs(a.root.Certificate))}
	s = newSnapshot(from, []Entry{{Alias: "lower", Certificate: a.lower.Certificate}}, certs(a.upper.Certificate), nil)
	sent, q = certs(host.Leaf, a.lower.Certificate), question{"host.example.com", serverAuth, time.Now()}
	got, err := s.verify(sent, q)
	require.NoError(t, err)
	require.Equal(t, sent, got)
	require.Len(t, s.recalled.paths, 1)
	return s, sent, q
}

func TestRecallGivesTheSameAnswer(t *testing.T) {
	t.Parallel()
	s, sent, q := recalling(t)
	s.anchors = &anchors{pool: x509.NewCertPool()} // nothing could be verified any more
	got, err := s.verify(sent, q)
	require.NoError(t, err)
	require.Equal(t, sent, got)
}

// What differs in anything has not been asked before.
func TestRecallAsksAgain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(sent *[]*x509.Certificate, q *question){
		"name":  func(_ *[]*x509.Certificate, q *question) { q.name = "other.example.com" },
		"usage": func(_ *[]*x509.Certificate, q *question) { q.usage = clientAuth },
		"late":  func(_ *[]*x509.Certificate, q *question) { q.at = q.at.AddDate(50, 0, 0) },
		"early": func(_ *[]*x509.Certificate, q *question) { q.at = q.at.AddDate(-50, 0, 0) },
		"leaf": func(sent *[]*x509.Certificate, _ *question) {
			(*sent)[0] = testpki.NewRoot("other").Server("host.example.com").Leaf
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, sent, q := recalling(t)
			change(&sent, &q)
			_, err := s.verify(sent, q)
			var refusal *RejectedError
			require.ErrorAs(t, err, &refusal)
			require.Len(t, s.recalled.paths, 1, "refusals are not remembered")
		})
	}
}

func TestRecallIsNoPardon(t *testing.T) {
	t.Parallel()
	s, sent, q := recalling(t)
	s.revocations = &revocations{denied: map[[sha256.Size]byte]*Denial{sha256.Sum256(sent[0].Raw): {}}}
	_, err := s.verify(sent, q)
	var revoked *RevokedError
	require.ErrorAs(t, err, &revoked)
}

func TestRecallIsBounded(t *testing.T) {
	t.Parallel()
	s, sent, _ := recalling(t)
	for i := range maxRecalled + 10 {
		s.recalled.keep([sha256.Size]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}, sent, 1)
	}
	require.Len(t, s.recalled.paths, maxRecalled)
}
