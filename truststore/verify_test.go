// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

const (
	serverAuth = x509.ExtKeyUsageServerAuth
	clientAuth = x509.ExtKeyUsageClientAuth
)

func certs(c ...*x509.Certificate) []*x509.Certificate { return c }

func TestVerifyChain(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	upper := root.NewIntermediate("upper")
	lower := upper.NewIntermediate("lower")
	server := lower.Server("host.example.com", "192.0.2.1").Leaf
	client := lower.Client("till 4").Leaf
	now := time.Now()

	for _, name := range []string{"", "host.example.com", "192.0.2.1"} {
		got, err := VerifyChain(certs(root.Certificate), certs(server, upper.Certificate, lower.Certificate), name, serverAuth, now)
		require.NoError(t, err)
		require.Equal(t, certs(server, lower.Certificate, upper.Certificate, root.Certificate), got)
	}
	_, err := VerifyChain(certs(testpki.NewRoot("other").Certificate, root.Certificate), certs(client, upper.Certificate, lower.Certificate), "", clientAuth, now)
	require.NoError(t, err)
	// An anchor may be an intermediate.
	got, err := VerifyChain(certs(upper.Certificate), certs(server, lower.Certificate, root.Certificate), "", serverAuth, now)
	require.NoError(t, err)
	require.Len(t, got, 3)
}

func TestVerifyChainRefuses(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	issuing := root.NewIntermediate("issuing")
	server := issuing.Server("host.example.com").Leaf
	roots, sent := certs(root.Certificate), certs(server, issuing.Certificate)
	now := time.Now()
	narrow := constrainedCA(t, root, []string{"other.example.com"})
	flat := caWith(root, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	deep := flat.NewIntermediate("deep")
	own := selfSigned(t)
	for _, tt := range []struct {
		name         string
		roots, chain []*x509.Certificate
		host         string
		usage        x509.ExtKeyUsage
		at           time.Time
		want         func(t *testing.T, err error)
	}{
		{"other root", certs(testpki.NewRoot("root").Certificate), sent, "", serverAuth, now, isUnknownAuthority},
		{"missing issuer", roots, certs(server), "", serverAuth, now, isUnknownAuthority},
		{"wrong name", roots, sent, "evil.example.com", serverAuth, now, isHostname},
		{"wrong usage", roots, sent, "", clientAuth, now, isInvalid(x509.IncompatibleUsage)},
		{"expired", roots, sent, "", serverAuth, now.AddDate(2, 0, 0), isInvalid(x509.Expired)},
		{"not yet valid", roots, sent, "", serverAuth, now.AddDate(0, 0, -1), isInvalid(x509.Expired)},
		{"name constraints", roots, certs(narrow.Server("host.example.com").Leaf, narrow.Certificate), "", serverAuth, now, isInvalid(x509.CANotAuthorizedForThisName)},
		{"path length", roots, certs(deep.Server("host.example.com").Leaf, deep.Certificate, flat.Certificate), "", serverAuth, now, isInvalid(x509.TooManyIntermediates)},
		{"unknown critical extension", roots, certs(unknownCritical(t, issuing), issuing.Certificate), "", serverAuth, now, isUnhandled},
		{"self-signed leaf as root", certs(own), certs(own), "", serverAuth, now, isRule("ca")},
		{"leaf as root", certs(server), certs(server), "", serverAuth, now, isRule("ca")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := VerifyChain(tt.roots, tt.chain, tt.host, tt.usage, tt.at)
			require.Nil(t, got)
			var refusal *RejectedError
			require.ErrorAs(t, err, &refusal)
			tt.want(t, err)
		})
	}
}

// What is asked in too wide a sense is not answered.
func TestVerifyChainZeroIsClosed(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	server := root.Server("host.example.com").Leaf
	roots, sent, now := certs(root.Certificate), certs(server), time.Now()
	for _, tt := range []struct {
		name         string
		roots, chain []*x509.Certificate
		usage        x509.ExtKeyUsage
		at           time.Time
	}{
		{"no roots", nil, sent, serverAuth, now},
		{"nil root", certs(nil), sent, serverAuth, now},
		{"no chain", roots, nil, serverAuth, now},
		{"nil leaf", roots, certs(nil), serverAuth, now},
		{"nil issuer", roots, certs(server, nil), serverAuth, now},
		{"any usage", roots, sent, x509.ExtKeyUsageAny, now},
		{"other usage", roots, sent, x509.ExtKeyUsageCodeSigning, now},
		{"no time", roots, sent, serverAuth, time.Time{}},
	} {
		got, err := VerifyChain(tt.roots, tt.chain, "", tt.usage, tt.at)
		require.Error(t, err, tt.name)
		require.Nil(t, got, tt.name)
		var e *Error
		require.ErrorAs(t, err, &e, tt.name)
		require.Equal(t, "verify", e.Op)
	}
	_, err := VerifyChain(nil, sent, "", serverAuth, now)
	require.ErrorIs(t, err, ErrNoAnchors)
}

// The profile holds for every certificate of a chain, wherever it stands.
func TestProfileHoldsAlongTheChain(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	noCritical := func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.com"} }

	t.Run("intermediate", func(t *testing.T) {
		t.Parallel()
		bad := caWith(root, noCritical)
		_, err := VerifyChain(certs(root.Certificate), certs(bad.Server("host.example.com").Leaf, bad.Certificate), "", serverAuth, time.Now())
		require.Equal(t, "name-constraints-critical", brokenRule(t, err))
	})
	t.Run("anchor", func(t *testing.T) {
		t.Parallel()
		bad := caWith(root, noCritical)
		_, err := VerifyChain(certs(bad.Certificate), certs(bad.Server("host.example.com").Leaf), "", serverAuth, time.Now())
		require.Equal(t, "name-constraints-critical", brokenRule(t, err))
	})
	t.Run("root with a broken signature", func(t *testing.T) {
		t.Parallel()
		c := rootOf(same)(t, root)
		der := append([]byte(nil), c.Raw...)
		der[len(der)-1] ^= 1
		broken, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		_, err = VerifyChain(certs(broken), certs(root.Server("host.example.com").Leaf), "", serverAuth, time.Now())
		require.Equal(t, "root-signature", brokenRule(t, err))
	})
	t.Run("another way is taken", func(t *testing.T) {
		t.Parallel()
		bad := caWith(root, noCritical)
		good := *bad
		good.Certificate = root.Issue(&x509.Certificate{
			Subject: bad.Certificate.Subject, IsCA: true, BasicConstraintsValid: true,
		}, bad.Key.Public())
		got, err := VerifyChain(certs(root.Certificate), certs(bad.Server("host.example.com").Leaf, bad.Certificate, good.Certificate), "", serverAuth, time.Now())
		require.NoError(t, err)
		require.Equal(t, good.Certificate, got[1])
	})
}

// A certificate signed with SHA-1 is refused for that, not for some other reason
// that a pinned certificate would escape.
func TestSHA1IsNamed(t *testing.T) {
	t.Parallel()
	root := testpki.NewRootWithKey("root", rsa2048())
	leaf := forge(t, root, root.Server("host.example.com").Leaf, func(fields []asn1.RawValue) {
		fields[2] = asn1.RawValue{FullBytes: sha1WithRSA(t)}
	})
	require.Equal(t, x509.SHA1WithRSA, leaf.SignatureAlgorithm)
	_, err := VerifyChain(certs(root.Certificate), certs(leaf), "", serverAuth, time.Now())
	require.Equal(t, "signature", brokenRule(t, err))
}

func caWith(parent *testpki.CA, edit func(*x509.Certificate)) *testpki.CA {
	key := testpki.NewRoot("key").Key
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "edited below " + parent.Certificate.Subject.CommonName}, IsCA: true, BasicConstraintsValid: true}
	edit(template)
	return &testpki.CA{Certificate: parent.Issue(template, key.Public()), Key: key}
}

func constrainedCA(t *testing.T, parent *testpki.CA, permitted []string) *testpki.CA {
	t.Helper()
	return caWith(parent, func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = permitted, true
	})
}

func unknownCritical(t *testing.T, ca *testpki.CA) *x509.Certificate {
	template := testpki.ServerTemplate("host.example.com")
	template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	return ca.Issue(template, ca.Key.Public())
}

func selfSigned(t *testing.T) *x509.Certificate {
	ca := testpki.NewRoot("key")
	template := ca.Issue(testpki.ServerTemplate("host.example.com"), ca.Key.Public())
	template.AuthorityKeyId = nil
	return issue(t, template, template, ca.Key.Public(), ca.Key)
}

func isUnknownAuthority(t *testing.T, err error) {
	var want x509.UnknownAuthorityError
	require.ErrorAs(t, err, &want)
}

func isHostname(t *testing.T, err error) {
	var want x509.HostnameError
	require.ErrorAs(t, err, &want)
}

func isUnhandled(t *testing.T, err error) {
	var want x509.UnhandledCriticalExtension
	require.ErrorAs(t, err, &want)
}

func isInvalid(reason x509.InvalidReason) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		var invalid x509.CertificateInvalidError
		require.ErrorAs(t, err, &invalid)
		require.Equal(t, reason, invalid.Reason)
	}
}

func isRule(name string) func(*testing.T, error) {
	return func(t *testing.T, err error) { require.Equal(t, name, brokenRule(t, err)) }
}

// A CA that carries its name from one key to the next issues to itself.
func TestKeyRollover(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	old := root.NewIntermediate("issuing")
	next := testpki.NewRoot("issuing")
	template := &x509.Certificate{
		Subject: old.Certificate.Subject, IsCA: true, BasicConstraintsValid: true,
		AuthorityKeyId: old.Certificate.SubjectKeyId,
	}
	link := old.Issue(template, next.Key.Public())
	rolled := &testpki.CA{Certificate: link, Key: next.Key}
	got, err := VerifyChain(certs(root.Certificate), certs(rolled.Server("host.example.com").Leaf, link, old.Certificate), "", serverAuth, time.Now())
	require.NoError(t, err)
	require.Len(t, got, 4)

	template.AuthorityKeyId = nil
	link = old.Issue(template, next.Key.Public())
	_, err = VerifyChain(certs(root.Certificate), certs(rolled.Server("host.example.com").Leaf, link, old.Certificate), "", serverAuth, time.Now())
	require.Equal(t, "authority-key-id", brokenRule(t, err))
}
