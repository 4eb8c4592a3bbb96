// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCSR(t *testing.T) {
	t.Parallel()
	uri, err := url.Parse("urn:serial:4711")
	require.NoError(t, err)
	request := Request{
		Subject:     pkix.Name{CommonName: "terminal 4711", Organization: []string{"Example"}},
		DNSNames:    []string{"4711.terminal.test"},
		IPAddresses: []net.IP{net.ParseIP("192.0.2.1").To4()},
		URIs:        []*url.URL{uri},
	}
	want := map[KeyType]x509.SignatureAlgorithm{
		RSA2048: x509.SHA256WithRSA, P256: x509.ECDSAWithSHA256, P384: x509.ECDSAWithSHA384,
	}
	for typ, algorithm := range want {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			s := open(t)
			key, err := s.Generate(t.Context(), "terminal", typ)
			require.NoError(t, err)
			der, err := s.CSR(t.Context(), "terminal", request)
			require.NoError(t, err)
			csr, err := x509.ParseCertificateRequest(der)
			require.NoError(t, err)
			require.NoError(t, csr.CheckSignature())
			require.Equal(t, algorithm, csr.SignatureAlgorithm)
			require.Equal(t, request.Subject.String(), csr.Subject.String())
			require.Equal(t, request.DNSNames, csr.DNSNames)
			require.Equal(t, request.IPAddresses, csr.IPAddresses)
			require.Equal(t, request.URIs, csr.URIs)
			require.True(t, samePublic(key.Public(), csr.PublicKey))

			leaf := authority().SignCSR(csr, x509.ExtKeyUsageClientAuth)
			require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", []*x509.Certificate{leaf}))
		})
	}
}

func TestCSRRefuses(t *testing.T) {
	t.Parallel()
	s := open(t)
	generate(t, s, "terminal")
	_, err := s.CSR(t.Context(), "nobody", Request{DNSNames: []string{"x.test"}})
	require.ErrorIs(t, err, ErrNotFound)
	for name, request := range map[string]Request{
		"nothing to ask for":   {},
		"name that is no name": {DNSNames: []string{"grün.test"}},
	} {
		_, err := s.CSR(t.Context(), "terminal", request)
		var typed *Error
		require.ErrorAs(t, err, &typed, name)
	}
	der, err := s.CSR(t.Context(), "terminal", Request{DNSNames: []string{"only-a-name.test"}})
	require.NoError(t, err)
	require.NotEmpty(t, der)
}

// TestCheckRequest gives the self-check requests that are not what was meant.
func TestCheckRequest(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, other := generate(t, s, "terminal"), generate(t, s, "other")
	der, err := s.CSR(t.Context(), "terminal", Request{DNSNames: []string{"x.test"}})
	require.NoError(t, err)
	want := &x509.CertificateRequest{DNSNames: []string{"x.test"}, SignatureAlgorithm: x509.ECDSAWithSHA256}
	require.NoError(t, checkRequest(der, want, key))
	require.Error(t, checkRequest(der, want, other))
	require.Error(t, checkRequest(der[1:], want, key))
	require.Error(t, checkRequest(der, &x509.CertificateRequest{SignatureAlgorithm: x509.ECDSAWithSHA256}, key))
	der[len(der)-1] ^= 1
	require.ErrorIs(t, checkRequest(der, want, key), ErrMismatch)
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	require.Equal(t, `keystore: inject "a": alias is taken`, (&Error{Op: "inject", Alias: "a", Err: ErrExists}).Error())
	require.Equal(t, `keystore: list keys: x`, (&Error{Op: "list keys", Err: errors.New("x")}).Error())
	require.Equal(t, "too weak", (&ChainError{Err: ErrWeak}).Error())
	require.Contains(t, (&ChainError{authority().Certificate, ErrWeak}).Error(), "acquirer issuing")
	require.NotContains(t, also(ErrExists, testError("y")).Error(), "\n")
	require.ErrorIs(t, also(ErrExists, testError("y")), testError("y"))
}

type testError string

func (e testError) Error() string { return string(e) }
