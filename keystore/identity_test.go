// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestCertificate(t *testing.T) {
	t.Parallel()
	s := open(t)
	root := testpki.NewRoot("root")
	ca := root.NewIntermediate("upper").NewIntermediate("lower")
	key := generate(t, s, "terminal")
	chain := append(issue(ca, "terminal", key.Public()), root.Certificate)
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", chain))

	id, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, "terminal_pub", id.Alias)
	require.Equal(t, chain, id.Chain, "the root too")

	c, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, [][]byte{chain[0].Raw, chain[1].Raw, chain[2].Raw}, c.Certificate, "without the root")
	require.Equal(t, chain[0], c.Leaf)
	require.Equal(t, crypto.PrivateKey(id.Key), c.PrivateKey)
	require.Equal(t, []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, c.SupportedSignatureAlgorithms)
	require.NotContains(t, methods(c.PrivateKey), "Delete")
	require.NotContains(t, methods(c.PrivateKey), "Decrypt")
}

// Whoever resolves an identity searches the token for the certificate, for the key
// and for each issuer: a search of a full token takes long.
func TestIdentitySearches(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, chain := identity(t, s, "terminal_pub", "terminal")
	require.Len(t, chain, 2)
	var asked []string
	fresh := newStore(&oddToken{Token: s.device, gate: func(op string) error {
		asked = append(asked, op)
		return nil
	}})
	_, err := fresh.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	found := func(op string) int {
		return len(slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return s != op }))
	}
	require.Equal(t, 3, found("Certificates"), "the leaf, its issuer, and the root that is not there")
	require.Equal(t, 1, found("Keys"))
	require.Equal(t, 1, found("ReadCertificates"), "the leaf once more")
}

// methods names those of the dangerous methods that a key has.
func methods(key crypto.PrivateKey) (names []string) {
	if _, ok := key.(crypto.Decrypter); ok {
		names = append(names, "Decrypt")
	}
	if _, ok := key.(interface{ Delete() error }); ok {
		names = append(names, "Delete")
	}
	return names
}

// TestForeignChain reads a chain that another tool has put on the token: plain
// certificates, with labels and ids of that tool's choice.
func TestForeignChain(t *testing.T) {
	t.Parallel()
	s := open(t)
	root := testpki.NewRoot("root")
	ca := root.NewIntermediate("issuing")
	key := generate(t, s, "terminal")
	chain := append(issue(ca, "terminal", key.Public()), root.Certificate)
	write(t, s, "terminal_pub", key.Info().ID, chain[0])
	write(t, s, "CA", []byte{1}, chain[1])
	write(t, s, "some root", nil, chain[2])
	id, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, chain, id.Chain)
}

func TestSelfSignedLeafIsSent(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := generate(t, s, "terminal")
	template := testpki.ClientTemplate("self")
	template.NotAfter = time.Now().Add(time.Hour)
	leaf := (&testpki.CA{Certificate: template, Key: key}).Issue(template, key.Public())
	require.True(t, selfSigned(leaf))
	require.NoError(t, s.Inject(t.Context(), "self", "terminal", []*x509.Certificate{leaf}))
	c, err := s.Certificate(t.Context(), "self")
	require.NoError(t, err)
	require.Equal(t, [][]byte{leaf.Raw}, c.Certificate)
}

// TestHandshake uses an identity in both roles with every kind of key.
func TestHandshake(t *testing.T) {
	t.Parallel()
	for _, typ := range []KeyType{RSA2048, RSA3072, P256, P384} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(typ.String()+" "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				handshake(t, open(t), typ, version)
			})
		}
	}
}

// handshake makes a key and an identity for both roles, and lets it meet itself.
func handshake(t *testing.T, s *Store, typ KeyType, version uint16) {
	t.Helper()
	root := testpki.NewRoot("root")
	ca := root.NewIntermediate("issuing")
	key, err := s.Generate(t.Context(), "terminal", typ)
	require.NoError(t, err)
	template := testpki.ServerTemplate("terminal.test")
	template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	leaf := ca.Issue(template, key.Public())
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", append([]*x509.Certificate{leaf}, ca.Chain()...)))
	c, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)

	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	config := &tls.Config{
		Certificates: []tls.Certificate{*c}, RootCAs: pool, ClientCAs: pool, ServerName: "terminal.test",
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: version, MaxVersion: version,
	}
	a, b := net.Pipe()
	server, client := tls.Server(a, config), tls.Client(b, config)
	failed := make(chan error, 1)
	go func() { failed <- server.HandshakeContext(t.Context()) }()
	require.NoError(t, client.HandshakeContext(t.Context()))
	require.NoError(t, <-failed)
	require.Equal(t, leaf, server.ConnectionState().PeerCertificates[0])
	require.Len(t, client.ConnectionState().PeerCertificates, 2)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

// TestLimitedTokens runs SoftHSM with few mechanisms.
func TestLimitedTokens(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		mechanisms string
		typ        KeyType
		csr        x509.SignatureAlgorithm
		want       []tls.SignatureScheme
	}{
		{"no PSS", "CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS", RSA2048, x509.SHA256WithRSA, []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}},
		{"only PSS", "CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS_PSS", RSA2048, x509.SHA256WithRSAPSS, []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}},
		{"hashes itself", "CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_SHA256_RSA_PKCS", RSA2048, x509.SHA256WithRSA, []tls.SignatureScheme{tls.PKCS1WithSHA256}},
		{"hashes itself with SHA-384", "CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_SHA384_RSA_PKCS", RSA2048, x509.SHA384WithRSA, []tls.SignatureScheme{tls.PKCS1WithSHA384}},
		{"hashes itself with PSS", "CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_SHA256_RSA_PKCS_PSS", RSA2048, x509.SHA256WithRSAPSS, []tls.SignatureScheme{tls.PSSWithSHA256}},
		{"EC only", "CKM_EC_KEY_PAIR_GEN,CKM_ECDSA", P384, x509.ECDSAWithSHA384, []tls.SignatureScheme{tls.ECDSAWithP384AndSHA384}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if !hsmtest.Child(t, "slots.mechanisms = "+test.mechanisms) {
				return
			}
			s := open(t)
			handshake(t, s, test.typ, tls.VersionTLS12)
			c, err := s.Certificate(t.Context(), "terminal_pub")
			require.NoError(t, err)
			require.Equal(t, test.want, c.SupportedSignatureAlgorithms)

			der, err := s.CSR(t.Context(), "terminal", Request{DNSNames: []string{"x.test"}})
			require.NoError(t, err)
			csr, err := x509.ParseCertificateRequest(der)
			require.NoError(t, err)
			require.Equal(t, test.csr, csr.SignatureAlgorithm)
		})
	}
}

// TestNoSchemeInCommon shows what crypto/tls is kept from promising.
func TestNoSchemeInCommon(t *testing.T) {
	t.Parallel()
	if !hsmtest.Child(t, "slots.mechanisms = CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS") {
		return
	}
	s := open(t)
	handshake(t, s, RSA2048, tls.VersionTLS12)
	c, err := s.Certificate(t.Context(), "terminal_pub")
	require.NoError(t, err)
	request := &tls.CertificateRequestInfo{Version: tls.VersionTLS12, SignatureSchemes: []tls.SignatureScheme{tls.PSSWithSHA256}}
	require.Error(t, request.SupportsCertificate(c))
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, chain := identity(t, s, "good", "terminal")
	expired := testpki.ClientTemplate("expired")
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	write(t, s, "expired", key.Info().ID, authority().Issue(expired, key.Public()))
	write(t, s, "foreign", key.Info().ID, authority().Client("foreign").Leaf)
	write(t, s, "twice", key.Info().ID, issue(authority(), "a", key.Public())[0])
	write(t, s, "twice", key.Info().ID, issue(authority(), "b", key.Public())[0])
	write(t, s, "a CA of another tool", []byte{1}, testpki.NewRoot("root").Certificate)
	_, err := s.device.CreateCertificate(t.Context(), p11.CertificateTemplate{
		Label: "keyless", ID: newID(), Value: authority().Client("keyless").Leaf.Raw, Category: p11.CategoryTokenUser,
	})
	require.NoError(t, err)

	infos, err := s.Identities(t.Context())
	require.NoError(t, err)
	byAlias := map[string]IdentityInfo{}
	for _, info := range infos {
		byAlias[info.Alias] = info
	}
	require.Len(t, infos, 6)
	require.NoError(t, byAlias["good"].Problem)
	require.Equal(t, chain, byAlias["good"].Chain)
	require.Equal(t, "terminal", byAlias["good"].KeyAlias)
	var invalid x509.CertificateInvalidError
	require.ErrorAs(t, byAlias["expired"].Problem, &invalid)
	require.ErrorIs(t, byAlias["foreign"].Problem, ErrMismatch)
	require.ErrorIs(t, byAlias["twice"].Problem, ErrAmbiguous)
	require.ErrorIs(t, byAlias["keyless"].Problem, ErrMismatch)
	require.Empty(t, byAlias["keyless"].KeyAlias)

	found := slices.ContainsFunc(infos, func(i IdentityInfo) bool { return len(i.Chain) == 0 })
	require.False(t, found)
}
