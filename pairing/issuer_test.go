// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"io"
	"math/big"
	"testing"
	"time"

	zcrypto "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestIssue(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, pub := range map[string]crypto.PublicKey{"RSA": posKey1().Public(), "P-256": newKey(t).Public()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := newIssuerAt(t, now.Add(-time.Hour))
			chain, err := issuer.Issue("123", pub, now)
			require.NoError(t, err)
			require.Len(t, chain, 3)
			leaf := chain[0]
			require.True(t, samePublicKey(leaf.PublicKey, pub))
			require.Equal(t, "POS 123", leaf.Subject.CommonName)
			require.Equal(t, x509.KeyUsageDigitalSignature, leaf.KeyUsage)
			require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, leaf.ExtKeyUsage)
			require.False(t, leaf.IsCA)
			require.Equal(t, chain[1].SubjectKeyId, leaf.AuthorityKeyId)
			require.Len(t, leaf.SubjectKeyId, 20)
			require.Equal(t, 1, leaf.SerialNumber.Sign())
			require.LessOrEqual(t, leaf.SerialNumber.BitLen(), 128)
			require.WithinDuration(t, now.Add(-clockSkew), leaf.NotBefore, time.Second)
			require.Equal(t, maxLifetime, leaf.NotAfter.Sub(leaf.NotBefore)+time.Second)
		})
	}
}

func TestSerialsAreRandom(t *testing.T) {
	t.Parallel()
	long := 0
	seen := make(map[string]bool)
	for range 1000 {
		s := newSerial()
		require.Equal(t, 1, s.Sign())
		require.False(t, seen[s.String()])
		seen[s.String()] = true
		if s.BitLen() == 128 {
			long++
		}
	}
	require.InDelta(t, 500, long, 100)
}

func TestValidityEndsWithTheIssuer(t *testing.T) {
	t.Parallel()
	made := time.Now()
	issuer, key := newIssuerAt(t, made), newKey(t)
	late := issuer.Chain[0].NotAfter.Add(-24 * time.Hour)
	chain, err := issuer.Issue("123", key.Public(), late)
	require.NoError(t, err)
	require.Equal(t, issuer.Chain[0].NotAfter, chain[0].NotAfter)

	chain, err = issuer.Issue("123", key.Public(), issuer.Chain[0].NotBefore)
	require.NoError(t, err)
	require.Equal(t, issuer.Chain[0].NotBefore, chain[0].NotBefore)

	issuer.Lifetime = time.Hour
	chain, err = issuer.Issue("123", key.Public(), made)
	require.NoError(t, err)
	require.Equal(t, time.Hour-time.Second, chain[0].NotAfter.Sub(chain[0].NotBefore))
}

// TestSuccessorBeginsLater is what tells a certificate from the one it replaces.
func TestSuccessorBeginsLater(t *testing.T) {
	t.Parallel()
	issuer, key, now := newIssuerAt(t, time.Now().Add(-time.Hour)), newKey(t), time.Now()
	last := time.Time{}
	for range 5 {
		chain, err := issuer.issue(order{"123", key.Public(), now, last})
		require.NoError(t, err)
		require.True(t, chain[0].NotBefore.After(last))
		last = chain[0].NotBefore
	}
	chain, err := issuer.issue(order{"123", key.Public(), now, now.Add(time.Hour)})
	require.NoError(t, err)
	require.True(t, chain[0].NotBefore.Before(now), "good at once, though the clock was set back")
}

func TestIssuerRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	good := newIssuer(t)
	root := testpki.NewRoot("root")
	caOf := func(change func(*x509.Certificate)) *Issuer {
		key := newKey(t)
		template := &x509.Certificate{
			Subject: named("CA"), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
			MaxPathLenZero: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		change(template)
		return &Issuer{Key: key, Chain: []*x509.Certificate{root.Issue(template, key.Public()), root.Certificate}}
	}
	require.NoError(t, caOf(func(*x509.Certificate) {}).check(now), "the twin")
	for name, test := range map[string]struct {
		issuer *Issuer
		at     time.Time
		want   error
	}{
		"nil":             {nil, now, ErrIncomplete},
		"no key":          {&Issuer{Chain: good.Chain}, now, ErrIncomplete},
		"no root":         {&Issuer{Key: good.Key, Chain: good.Chain[:1]}, now, ErrIncomplete},
		"nil in chain":    {&Issuer{Key: good.Key, Chain: []*x509.Certificate{good.Chain[0], nil}}, now, ErrIncomplete},
		"lifetime":        {&Issuer{Key: good.Key, Chain: good.Chain, Lifetime: maxLifetime + 1}, now, ErrIncomplete},
		"negative":        {&Issuer{Key: good.Key, Chain: good.Chain, Lifetime: -1}, now, ErrIncomplete},
		"other key":       {&Issuer{Key: newKey(t), Chain: good.Chain}, now, ErrIssuer},
		"other root":      {&Issuer{Key: good.Key, Chain: []*x509.Certificate{good.Chain[0], root.Certificate}}, now, ErrIssuer},
		"root missing":    {&Issuer{Key: good.Key, Chain: []*x509.Certificate{good.Chain[0], good.Chain[0]}}, now, ErrIssuer},
		"expired":         {good, good.Chain[0].NotAfter.Add(time.Second), ErrIssuer},
		"not yet":         {good, good.Chain[0].NotBefore.Add(-time.Second), ErrIssuer},
		"no CA":           {caOf(func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), now, ErrIssuer},
		"path length 1":   {caOf(func(c *x509.Certificate) { c.MaxPathLenZero, c.MaxPathLen = false, 1 }), now, ErrIssuer},
		"no path length":  {caOf(func(c *x509.Certificate) { c.MaxPathLenZero = false }), now, ErrIssuer},
		"any usage":       {caOf(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), now, ErrIssuer},
		"server usage":    {caOf(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }), now, ErrIssuer},
		"may not certify": {caOf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), now, ErrIssuer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := test.issuer.Issue("123", posKey1().Public(), test.at)
			require.ErrorIs(t, err, test.want)
		})
	}
}

func TestWeakKeys(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	rsaWith := func(bits uint, e int) *rsa.PublicKey {
		return &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), bits-1), big.NewInt(1)), E: e}
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	for name, pub := range map[string]crypto.PublicKey{
		"RSA-1024": rsaWith(1024, 65537), "RSA-2047": rsaWith(2047, 65537), "RSA-16384": rsaWith(16384, 65537),
		"exponent 3": rsaWith(2048, 3), "P-224": &p224.PublicKey, "nothing": nil, "text": "key",
	} {
		_, err := issuer.Issue("123", pub, time.Now())
		require.ErrorIs(t, err, ErrCSR, name)
	}
}

// brokenSigner is a token that has gone.
type brokenSigner struct{ crypto.Signer }

func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, io.ErrUnexpectedEOF
}

func TestTokenGone(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	issuer.Key = brokenSigner{issuer.Key}
	_, err := issuer.Issue("123", posKey1().Public(), time.Now())
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestLocalAuthority(t *testing.T) {
	t.Parallel()
	now, rootKey, key := time.Now(), newKey(t), newKey(t)
	root, err := NewLocalRoot(rootKey, named("root"), now)
	require.NoError(t, err)
	ca, err := NewLocalAuthority(root, rootKey, key.Public(), named("CA"), root.NotAfter.Add(-time.Hour))
	require.NoError(t, err)
	require.Equal(t, root.NotAfter, ca.NotAfter, "never beyond the root")
	require.NoError(t, checkAuthority(ca))

	_, err = NewLocalAuthority(root, rootKey, rootKey.Public(), named("CA"), now)
	require.ErrorIs(t, err, ErrIssuer)
	_, err = NewLocalAuthority(root, rootKey, "no key", named("CA"), now)
	require.ErrorIs(t, err, ErrCSR)
	_, err = NewLocalRoot(brokenSigner{rootKey}, named("root"), now)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// TestLocalRootVouchesForNoServer tries to.
func TestLocalRootVouchesForNoServer(t *testing.T) {
	t.Parallel()
	now, rootKey := time.Now(), newKey(t)
	root, err := NewLocalRoot(rootKey, named("root"), now)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	ca := &testpki.CA{Certificate: root, Key: rootKey}
	for _, name := range []string{"acquirer.example", "10.0.0.1", "2001:db8::1", device} {
		server := ca.Server(name).Leaf
		_, err := server.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
		require.ErrorAs(t, err, new(x509.CertificateInvalidError), name)
	}
}

func TestAuthorityRequest(t *testing.T) {
	t.Parallel()
	key, now := newKey(t), time.Now()
	der, err := AuthorityRequest(key, named("pairing CA"))
	require.NoError(t, err)
	csr, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	require.NoError(t, csr.CheckSignature())

	// An acquirer that copies what is asked for makes a CA that can issue.
	acquirer := testpki.NewRoot("acquirer root")
	cert := acquirer.Issue(&x509.Certificate{
		Subject: csr.Subject, NotAfter: now.Add(time.Hour), ExtraExtensions: csr.Extensions, KeyUsage: 1,
	}, csr.PublicKey)
	issuer := &Issuer{Key: key, Chain: []*x509.Certificate{cert, acquirer.Certificate}}
	_, err = issuer.Issue("123", newKey(t).Public(), now)
	require.NoError(t, err)

	_, err = AuthorityRequest(brokenSigner{key}, named("pairing CA"))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// TestLint has every certificate this package makes judged by zlint, for the
// standards that apply to them: not those of the web's public CAs.
func TestLint(t *testing.T) {
	t.Parallel()
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC8813, lint.Community},
	})
	require.NoError(t, err)
	issuer := newIssuer(t)
	certs := issuer.Chain
	for _, id := range []string{"123", "pos.example", "Kasse Süd 2", "a/b?c#d"} {
		for _, pub := range []crypto.PublicKey{posKey1().Public(), newKey(t).Public()} {
			chain, err := issuer.Issue(id, pub, time.Now())
			require.NoError(t, err)
			certs = append(certs, chain[0])
		}
	}
	fips140.WithoutEnforcement(func() { // the linter computes MD5 fingerprints
		for _, c := range certs {
			parsed, err := zcrypto.ParseCertificate(c.Raw)
			require.NoError(t, err)
			for name, result := range zlint.LintCertificateEx(parsed, registry).Results {
				if result.Status >= lint.Warn {
					t.Errorf("%s: %s: %v %s", c.Subject, name, result.Status, result.Details)
				}
			}
		}
	})
}
