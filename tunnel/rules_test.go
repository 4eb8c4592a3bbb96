// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func spki(c *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

func TestRules(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	key := root.Client("key")
	template := testpki.ClientTemplate("till-1.example")
	template.Subject.OrganizationalUnit = []string{"tills", "shop 7"}
	template.URIs = []*url.URL{{Scheme: "spiffe", Host: "shop.example", Path: "/till/1"}}
	template.DNSNames = append(template.DNSNames, "*.wild.example")
	leaf := root.Issue(template, key.Leaf.PublicKey)
	tests := []struct {
		name  string
		rules Rules
		want  bool
	}{
		{"nothing", Rules{}, false},
		{"common name", Rules{CommonNames: []string{"other", "till-1.example"}}, true},
		{"common name in capitals", Rules{CommonNames: []string{"TILL-1.EXAMPLE"}}, false},
		{"part of the common name", Rules{CommonNames: []string{"till-1"}}, false},
		{"unit", Rules{Units: []string{"shop 7"}}, true},
		{"organisation as unit", Rules{Units: []string{"hsmtls test"}}, false},
		{"DNS name", Rules{Names: []string{"till-1.example"}}, true},
		{"another DNS name", Rules{Names: []string{"till-2.example"}}, false},
		{"wildcard of the certificate", Rules{Names: []string{"a.wild.example"}}, false},
		{"wildcard, literally", Rules{Names: []string{"*.wild.example"}}, true},
		{"wildcard as a rule", Rules{Names: []string{"*.example", "*"}}, false},
		{"URI", Rules{Names: []string{"spiffe://shop.example/till/1"}}, true},
		{"beginning of the URI", Rules{Names: []string{"spiffe://shop.example/till/"}}, false},
		{"key", Rules{SPKI: [][sha256.Size]byte{spki(leaf)}}, true},
		{"another key", Rules{SPKI: [][sha256.Size]byte{spki(root.Certificate)}}, false},
		{"match", Rules{Match: func(c *x509.Certificate) bool { return c.Equal(leaf) }}, true},
		{"no match", Rules{Match: func(*x509.Certificate) bool { return false }}, false},
		{"one of several", Rules{CommonNames: []string{"other"}, Units: []string{"tills"}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.rules.Allow(leaf)
			if tt.want {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrNotAllowed)
		})
	}
	require.ErrorIs(t, new(Rules).Allow(nil), ErrNotAllowed)
}

// TestTwoCommonNames has no rule choose one of them.
func TestTwoCommonNames(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	template := testpki.ClientTemplate("till")
	template.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "mine"},
		{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "admin"},
	}}
	leaf := root.Issue(template, root.Client("key").Leaf.PublicKey)
	rules := Rules{CommonNames: []string{"mine", "admin"}}
	require.ErrorIs(t, rules.Allow(leaf), ErrNotAllowed)
}

// TestRulesAtTheDoor refuses in the handshake: the target hears nothing.
func TestRulesAtTheDoor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.serverConfig(w.target(echo))
	cfg.AllowAll, cfg.Rules = false, Rules{CommonNames: []string{"till"}}
	var asked atomic.Int64
	cfg.Provider.VerifyPeer = func(tls.ConnectionState) error { asked.Add(1); return nil }
	s := w.start(cfg)
	for range 2 { // resumed, too
		require.NoError(t, ping(w.mustDial(s.address())))
	}
	other := w.root.Client("till 2")
	conn, err := w.dialAs(w.memory(&other), "tcp", s.address())
	if err == nil {
		_, err = io.ReadAll(conn)
	}
	require.Error(t, err)
	require.ErrorIs(t, cause(s.ended(ReasonHandshake)), ErrNotAllowed)
	require.EqualValues(t, 3, asked.Load())
	require.EqualValues(t, 1, s.Status().Ended[ReasonHandshake])
}

// TestRulesOfClient refuses a server with the right name.
func TestRulesOfClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(w.serverConfig(w.target(echo)))
	cfg := w.clientConfig(s.address())
	cfg.Rules.SPKI = [][sha256.Size]byte{spki(w.root.Certificate)}
	c := w.start(cfg)
	require.Error(t, once(c.address()))
	require.ErrorIs(t, cause(c.ended(ReasonTarget)), ErrNotAllowed)
}
