// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func newP256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func TestCheckChainAccepts(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	lower := root.NewIntermediate("upper").NewIntermediate("lower")
	pub := newP256(t).Public()
	full := append(issue(lower, "terminal", pub), root.Certificate)
	for n := 1; n <= len(full); n++ {
		require.NoError(t, checkChain(full[:n], time.Now()), "%d certificates", n)
	}
	require.NoError(t, checkChain([]*x509.Certificate{root.Server("host.test").Leaf}, time.Now()))
}

func TestCheckChainRefuses(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	ca := root.NewIntermediate("issuing")
	pub := newP256(t).Public()
	good := issue(ca, "terminal", pub)
	weakRoot := testpki.NewRootWithKey("weak root", weakRSA(t))
	edPub, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	leaf := func(change func(*x509.Certificate)) []*x509.Certificate {
		template := testpki.ClientTemplate("terminal")
		change(template)
		return []*x509.Certificate{ca.Issue(template, pub), ca.Certificate}
	}
	resigned := func(alg x509.SignatureAlgorithm) []*x509.Certificate {
		c := *good[0]
		c.SignatureAlgorithm = alg
		return []*x509.Certificate{&c, ca.Certificate}
	}
	deep := root
	for range maxChain {
		deep = deep.NewIntermediate("deep")
	}
	noPath := &testpki.CA{Key: newP256(t)}
	noPath.Certificate = root.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "path 0"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}, noPath.Key.Public())
	belowNoPath := noPath.NewIntermediate("too deep")

	tests := []struct {
		name  string
		chain []*x509.Certificate
		want  error
	}{
		{"nothing", nil, ErrChain},
		{"nil", []*x509.Certificate{nil}, ErrChain},
		{"too long", append(issue(deep, "terminal", pub), root.Certificate), ErrChain},
		{"twice", []*x509.Certificate{good[0], good[1], good[1]}, ErrChain},
		{"issuer first", []*x509.Certificate{good[1], good[0]}, ErrChain},
		{"CA alone", []*x509.Certificate{root.Certificate}, ErrChain},
		{"issuer missing", []*x509.Certificate{good[0], root.Certificate}, ErrChain},
		{"other issuer of that name", []*x509.Certificate{good[0], root.NewIntermediate("issuing").Certificate}, ErrChain},
		{"issuer is no CA", []*x509.Certificate{good[0], root.Issue(&x509.Certificate{Subject: ca.Certificate.Subject}, ca.Key.Public())}, ErrChain},
		{"path too long", []*x509.Certificate{belowNoPath.Client("x").Leaf, belowNoPath.Certificate, noPath.Certificate, root.Certificate}, x509.CertificateInvalidError{}},
		{"signs certificates only", leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }), ErrChain},
		{"encrypts only", leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), ErrChain},
		{"signs code", leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), ErrChain},
		{"expired", leaf(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour / 2) }), x509.CertificateInvalidError{}},
		{"not yet valid", leaf(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), x509.CertificateInvalidError{}},
		{"critical extension", leaf(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}}
		}), x509.UnhandledCriticalExtension{}},
		{"SHA-1", resigned(x509.SHA1WithRSA), ErrWeak},
		{"ECDSA with SHA-1", resigned(x509.ECDSAWithSHA1), ErrWeak},
		{"MD5", resigned(x509.MD5WithRSA), ErrWeak},
		{"unknown signature", resigned(x509.UnknownSignatureAlgorithm), ErrWeak},
		{"short RSA key", []*x509.Certificate{ca.Issue(testpki.ClientTemplate("x"), weakRSA(t).Public()), ca.Certificate}, ErrWeak},
		{"issuer with short RSA key", []*x509.Certificate{weakRoot.Client("x").Leaf, weakRoot.Certificate}, ErrWeak},
		{"Ed25519", []*x509.Certificate{ca.Issue(testpki.ClientTemplate("x"), edPub), ca.Certificate}, ErrWeak},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := checkChain(test.chain, time.Now())
			switch test.want.(type) {
			case x509.CertificateInvalidError:
				var invalid x509.CertificateInvalidError
				require.ErrorAs(t, err, &invalid)
			case x509.UnhandledCriticalExtension:
				var unhandled x509.UnhandledCriticalExtension
				require.ErrorAs(t, err, &unhandled)
			default:
				require.ErrorIs(t, err, test.want)
			}
		})
	}
}

func TestCheckChainAsksTheGivenClock(t *testing.T) {
	t.Parallel()
	chain := issue(authority(), "terminal", newP256(t).Public())
	var invalid x509.CertificateInvalidError
	for _, now := range []time.Time{chain[0].NotBefore.Add(-time.Second), chain[0].NotAfter.Add(time.Second)} {
		require.ErrorAs(t, checkChain(chain, now), &invalid)
		require.Equal(t, x509.Expired, invalid.Reason)
	}
	require.NoError(t, checkChain(chain, chain[0].NotBefore))
	require.NoError(t, checkChain(chain, chain[0].NotAfter))
}

// fromList is a finder over certificates.
func fromList(certs ...*x509.Certificate) finder {
	return func(_ context.Context, subject []byte) (found []*x509.Certificate, _ error) {
		for _, c := range certs {
			if string(c.RawSubject) == string(subject) {
				found = append(found, c)
			}
		}
		return found, nil
	}
}

func TestWalk(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	upper := root.NewIntermediate("upper")
	lower := upper.NewIntermediate("lower")
	leaf := lower.Client("terminal").Leaf
	impostor := upper.NewIntermediate("lower") // same name, other key
	renewed := upper.Issue(&x509.Certificate{
		Subject: lower.Certificate.Subject, IsCA: true, BasicConstraintsValid: true, NotAfter: lower.Certificate.NotAfter.Add(time.Hour),
	}, lower.Key.Public())
	twin := upper.Issue(&x509.Certificate{
		Subject: lower.Certificate.Subject, IsCA: true, BasicConstraintsValid: true, NotAfter: lower.Certificate.NotAfter,
	}, lower.Key.Public())
	smaller := slices.MinFunc([]*x509.Certificate{twin, lower.Certificate}, func(a, b *x509.Certificate) int { return slices.Compare(a.Raw, b.Raw) })

	tests := []struct {
		name string
		have []*x509.Certificate
		want []*x509.Certificate
	}{
		{"nothing", nil, []*x509.Certificate{leaf}},
		{"all", []*x509.Certificate{root.Certificate, upper.Certificate, lower.Certificate}, []*x509.Certificate{leaf, lower.Certificate, upper.Certificate, root.Certificate}},
		{"a gap", []*x509.Certificate{root.Certificate, lower.Certificate}, []*x509.Certificate{leaf, lower.Certificate}},
		{"an impostor", []*x509.Certificate{impostor.Certificate}, []*x509.Certificate{leaf}},
		{"an impostor first", []*x509.Certificate{impostor.Certificate, lower.Certificate}, []*x509.Certificate{leaf, lower.Certificate}},
		{"renewed issuer", []*x509.Certificate{lower.Certificate, renewed}, []*x509.Certificate{leaf, renewed}},
		{"renewed issuer first", []*x509.Certificate{renewed, lower.Certificate}, []*x509.Certificate{leaf, renewed}},
		{"twin issuers", []*x509.Certificate{twin, lower.Certificate}, []*x509.Certificate{leaf, smaller}},
		{"twin issuers the other way", []*x509.Certificate{lower.Certificate, twin}, []*x509.Certificate{leaf, smaller}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := walk(t.Context(), leaf, fromList(test.have...))
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

// TestWalkEnds has two CAs certify each other, and a chain that is too long.
func TestWalkEnds(t *testing.T) {
	t.Parallel()
	a, b := testpki.NewRoot("a"), testpki.NewRoot("b")
	cross := func(subject, by *testpki.CA) *x509.Certificate {
		return by.Issue(&x509.Certificate{Subject: subject.Certificate.Subject, IsCA: true, BasicConstraintsValid: true}, subject.Key.Public())
	}
	ab, ba := cross(a, b), cross(b, a)
	leaf := a.Client("terminal").Leaf
	got, err := walk(t.Context(), leaf, fromList(ab, ba))
	require.NoError(t, err)
	require.Equal(t, []*x509.Certificate{leaf, ab, ba}, got)

	deep := testpki.NewRoot("root")
	var all []*x509.Certificate
	for range maxChain {
		deep = deep.NewIntermediate("deep")
		all = append(all, deep.Certificate)
	}
	_, err = walk(t.Context(), deep.Client("terminal").Leaf, fromList(all...))
	require.ErrorIs(t, err, ErrChain)
}

func TestWalkAndWeakIssuers(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	weak := &testpki.CA{Key: weakRSA(t)}
	weak.Certificate = root.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "weak issuing"}, IsCA: true, BasicConstraintsValid: true,
	}, weak.Key.Public())
	_, err := walk(t.Context(), weak.Client("terminal").Leaf, fromList(weak.Certificate))
	var chain *ChainError
	require.ErrorAs(t, err, &chain)
	require.ErrorIs(t, err, ErrWeak)
	require.True(t, weak.Certificate.Equal(chain.Certificate))

	weakRoot := testpki.NewRootWithKey("weak root", weak.Key)
	leaf := weakRoot.Client("terminal").Leaf
	got, err := walk(t.Context(), leaf, fromList(weakRoot.Certificate))
	require.NoError(t, err)
	require.Equal(t, []*x509.Certificate{leaf}, got)
}

func TestWalkPassesErrorsOn(t *testing.T) {
	t.Parallel()
	_, err := walk(t.Context(), authority().Client("x").Leaf, func(context.Context, []byte) ([]*x509.Certificate, error) {
		return nil, context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
}
