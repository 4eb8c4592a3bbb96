// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A till is the certificate of a paired system as its pairing CA issues it.
func till(ca *testpki.CA, name string) []*x509.Certificate {
	template := testpki.ClientTemplate(name)
	template.DNSNames = nil
	template.URIs = []*url.URL{{Scheme: "hsmtls-pos", Host: "pairing.invalid", Path: "/" + name}}
	return append([]*x509.Certificate{ca.Issue(template, testpki.NewRoot("key").Key.Public())}, ca.Chain()...)
}

func TestClients(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("pairing root")
	ca := root.NewIntermediate("pairing CA")
	tok := hsmtest.Token(t)
	s, err := Open(t.Context(), tok, Config{Anchors: Anchors{Pairing: certs(root.Certificate)}})
	require.NoError(t, err)
	c := &Clients{Store: s}
	require.Empty(t, c.Clients())

	one, two := append(till(ca, "1"), root.Certificate), till(ca, "2")
	for range 2 {
		require.NoError(t, c.Add(t.Context(), "1", one))
	}
	require.NoError(t, c.Add(t.Context(), "2", two))
	require.Len(t, c.Clients(), 2)
	generation := s.Generation()

	other, err := s.Inject(t.Context(), "pos of somebody", till(ca, "3")...)
	require.NoError(t, err)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, other.Usages)
	require.NotEqual(t, generation, s.Generation())
	require.Len(t, c.Clients(), 2, "by alias")

	_, err = s.Verify(one, "", x509.ExtKeyUsageClientAuth, time.Now())
	require.NoError(t, err)
	_, err = s.Verify(one, "", x509.ExtKeyUsageServerAuth, time.Now())
	require.ErrorAs(t, err, new(*RejectedError))
	_, err = s.Verify(till(ca, "4"), "", x509.ExtKeyUsageClientAuth, time.Now())
	require.ErrorIs(t, err, ErrUntrusted, "not listed")

	again, err := Open(t.Context(), tok, Config{Anchors: Anchors{Pairing: certs(root.Certificate)}})
	require.NoError(t, err)
	require.Len(t, (&Clients{Store: again}).Clients(), 2, "it lives on the token")

	require.NoError(t, c.Remove(t.Context(), one[0]))
	require.NoError(t, c.Remove(t.Context(), one[0]))
	require.Len(t, c.Clients(), 1)
	_, err = s.Verify(one, "", x509.ExtKeyUsageClientAuth, time.Now())
	require.ErrorIs(t, err, ErrUntrusted)
}

func TestClientsExpired(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("pairing root")
	ca := root.NewIntermediate("pairing CA")
	tok, now := hsmtest.Token(t), time.Now()
	s, err := Open(t.Context(), tok, Config{Anchors: Anchors{Pairing: certs(root.Certificate)}, Now: func() time.Time { return now }})
	require.NoError(t, err)
	c := &Clients{Store: s}
	one, two := till(ca, "1"), till(ca, "2")
	require.NoError(t, c.Add(t.Context(), "1", one))
	require.NoError(t, c.Add(t.Context(), "2", two))
	_, err = s.Inject(t.Context(), "somebody", till(ca, "3")...)
	require.NoError(t, err)
	require.Empty(t, c.Expired())

	now = latestEnd(one[0], two[0]).Add(time.Second)
	require.NoError(t, s.Refresh(t.Context()))
	require.Empty(t, c.Clients())
	require.Equal(t, distinct(certs(one[0], two[0])), c.Expired())
	require.NoError(t, c.Remove(t.Context(), one[0]))
	require.Equal(t, certs(two[0]), c.Expired())

	now = two[0].NotAfter
	require.NoError(t, s.Refresh(t.Context()))
	require.Equal(t, certs(two[0]), c.Clients(), "the clock was wrong")
	require.Empty(t, c.Expired())
}

func latestEnd(a, b *x509.Certificate) time.Time {
	if a.NotAfter.After(b.NotAfter) {
		return a.NotAfter
	}
	return b.NotAfter
}

func TestClientsIncomplete(t *testing.T) {
	t.Parallel()
	chain := till(testpki.NewRoot("root"), "1")
	for _, c := range []*Clients{{}, {Store: new(Store)}} {
		require.Error(t, c.Add(t.Context(), "1", chain))
		require.Error(t, c.Remove(t.Context(), chain[0]))
		require.Error(t, c.Remove(t.Context(), nil))
		require.Empty(t, c.Clients())
		require.Empty(t, c.Expired())
	}
	s := &Store{anchors: &anchors{}}
	require.Error(t, (&Clients{Store: s}).Add(t.Context(), "1", nil))
}

func TestClientAlias(t *testing.T) {
	t.Parallel()
	name := clientAlias(testpki.NewRoot("root").Certificate)
	require.NoError(t, alias.Check(name))
	require.Regexp(t, `^pos [0-9a-f]{16}$`, name)
}

// TestPairingAnchor vouches for clients and for nothing else.
func TestPairingAnchor(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("pairing root")
	ca := root.NewIntermediate("pairing CA")
	both := testpki.ClientTemplate("both")
	both.ExtKeyUsage = append(both.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	chain := func(c *x509.Certificate) []*x509.Certificate { return append(certs(c), ca.Chain()...) }
	pairing, err := Anchors{Pairing: certs(root.Certificate)}.checked()
	require.NoError(t, err)
	issuing, err := Anchors{Pairing: certs(ca.Certificate)}.checked()
	require.NoError(t, err)
	full, err := Anchors{Vendor: certs(root.Certificate), Pairing: certs(root.Certificate)}.checked()
	require.NoError(t, err)
	for name, test := range map[string]struct {
		chain []*x509.Certificate
		good  bool // below a pairing anchor
	}{
		"client":            {chain(ca.Client("till").Leaf), true},
		"server":            {chain(ca.Server("a.test").Leaf), false},
		"client and server": {chain(ca.Issue(both, root.Key.Public())), false},
		"CA":                {chain(ca.NewIntermediate("lower").Certificate), false},
	} {
		for _, from := range []*anchors{pairing, issuing} {
			_, err := proof(test.chain[0], issuers{}.above(test.chain), from, time.Now())
			if test.good {
				require.NoError(t, err, name)
			} else {
				require.ErrorIs(t, err, ErrPairing, name)
			}
		}
		_, err := proof(test.chain[0], issuers{}.above(test.chain), full, time.Now())
		require.NoError(t, err, "%s: it is also a vendor root", name)
	}
}

// TestPairingAnchorAndIssuingCA has a CA be an entry because the acquirer vouches
// for it, and a pairing anchor vouch for it as well: the latter counts for what
// ends there.
func TestPairingAnchorAndIssuingCA(t *testing.T) {
	t.Parallel()
	acquirer, pairing := testpki.NewRoot("acquirer"), testpki.NewRoot("pairing root")
	ca := acquirer.NewIntermediate("CA")
	cross := pairing.Issue(&x509.Certificate{
		Subject: ca.Certificate.Subject, NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true, SubjectKeyId: ca.Certificate.SubjectKeyId,
	}, ca.Key.Public())
	from, err := Anchors{Acquirer: certs(acquirer.Certificate), Pairing: certs(pairing.Certificate)}.checked()
	require.NoError(t, err)
	entry, err := proof(ca.Certificate, issuers{}.above(certs(ca.Certificate)), from, time.Now())
	require.NoError(t, err)
	s := newSnapshot(from, []Entry{entry}, nil, nil)
	client := ca.Client("till").Leaf
	got, err := s.verify(certs(client, cross), question{"", x509.ExtKeyUsageClientAuth, time.Now()})
	require.NoError(t, err)
	require.Equal(t, ca.Certificate, got[1], "by the acquirer's")
	_, err = s.verify(certs(ca.Server("a.test").Leaf, cross), question{"a.test", x509.ExtKeyUsageServerAuth, time.Now()})
	require.NoError(t, err)

	s = newSnapshot(from, []Entry{{Alias: "x", Certificate: cross}}, nil, nil)
	s.anchors = &anchors{pool: poolOf(certs(pairing.Certificate)), pairing: from.pairing}
	_, err = s.verify(certs(client, cross), question{"", x509.ExtKeyUsageClientAuth, time.Now()})
	require.ErrorIs(t, err, ErrUntrusted)
}
