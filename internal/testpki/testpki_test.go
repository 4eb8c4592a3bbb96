// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package testpki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestServer(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	issuing := root.NewIntermediate("upper").NewIntermediate("lower")
	server := issuing.Server("host.test", "127.0.0.1")

	require.Len(t, server.Certificate, 3)
	require.True(t, server.PrivateKey.(*ecdsa.PrivateKey).PublicKey.Equal(server.Leaf.PublicKey))
	verify(t, root, issuing, server.Leaf, x509.ExtKeyUsageServerAuth)
	require.NoError(t, server.Leaf.VerifyHostname("host.test"))
	require.NoError(t, server.Leaf.VerifyHostname("127.0.0.1"))
}

func TestClient(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	for name, host := range map[string]string{
		"till 4":       "till-4.test",
		"terminal_pub": "terminal-pub.test",
		"pos.example":  "pos.example",
		"10.1.2.3":     "10.1.2.3",
		"äöü":          "unnamed.test",
	} {
		client := root.Client(name)
		require.Len(t, client.Certificate, 1)
		require.Equal(t, name, client.Leaf.Subject.CommonName)
		require.NoError(t, client.Leaf.VerifyHostname(host))
		verify(t, root, root, client.Leaf, x509.ExtKeyUsageClientAuth)
	}
}

func TestSignCSR(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	request := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "terminal"}}
	der, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	require.NoError(t, err)
	csr, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)

	root := testpki.NewRoot("root")
	cert := root.SignCSR(csr, x509.ExtKeyUsageClientAuth)
	require.True(t, key.PublicKey.Equal(cert.PublicKey))
	require.Equal(t, []string{"terminal.test"}, cert.DNSNames)
	verify(t, root, root, cert, x509.ExtKeyUsageClientAuth)

	csr.Signature[len(csr.Signature)-1] ^= 1
	require.Panics(t, func() { root.SignCSR(csr, x509.ExtKeyUsageClientAuth) })
}

func TestIssueLeavesTemplateAlone(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	template := testpki.ServerTemplate("host.test")
	a := root.Issue(template, root.Key.Public())
	b := root.Issue(template, root.Key.Public())
	require.Nil(t, template.SerialNumber)
	require.NotEqual(t, a.SerialNumber, b.SerialNumber)
}

func TestRSA(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	root := testpki.NewRootWithKey("root", key)
	verify(t, root, root, root.Server().Leaf, x509.ExtKeyUsageServerAuth)
}

func TestPEM(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	issuing := root.NewIntermediate("issuing")
	block, rest := pem.Decode(testpki.PEM(issuing.Certificate, root.Certificate))
	require.Equal(t, issuing.Certificate.Raw, block.Bytes)
	block, rest = pem.Decode(rest)
	require.Equal(t, root.Certificate.Raw, block.Bytes)
	require.Empty(t, rest)
}

func verify(t *testing.T, root, issuer *testpki.CA, leaf *x509.Certificate, usage x509.ExtKeyUsage) {
	t.Helper()
	opts := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	}
	opts.Roots.AddCert(root.Certificate)
	for _, c := range issuer.Chain() {
		opts.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(opts)
	require.NoError(t, err)
}
