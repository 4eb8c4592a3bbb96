// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package est

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/largekey"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// crowd returns n certificates of one CA name, the first half of which verify
// nothing: whoever builds a chain of the others tries all of these for each link.
func crowd(t *testing.T, n int, leaf crypto.PublicKey) (certs []*x509.Certificate) {
	t.Helper()
	good, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	bad, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for i := range n {
		public := map[bool]crypto.PublicKey{true: bad.Public(), false: good.Public()}[i < n/2]
		if i == n-1 {
			public = leaf
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "c"}, IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: template.Subject}, public, good)
		require.NoError(t, err)
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		certs = append(certs, c)
	}
	return certs
}

// TestCrowd keeps a server from having its client verify signatures for minutes.
func TestCrowd(t *testing.T) {
	t.Parallel()
	der, key := request(t, "t.example")
	csr, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	found, err := parseCertsOnly(testpki.CertsOnly(crowd(t, maxCertificates, key.Public())...))
	require.NoError(t, err)
	chain, err := chainFor(csr, found)
	require.NoError(t, err)
	require.Len(t, chain, maxCertificates/2)
	_, err = parseCertsOnly(testpki.CertsOnly(crowd(t, maxCertificates+1, key.Public())...))
	require.ErrorIs(t, err, ErrAnswer)
}

// TestLargeKey has a key whose signatures take long to verify.
func TestLargeKey(t *testing.T) {
	t.Parallel()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	for bits, want := range map[int]error{largekey.MaxRSABits: nil, largekey.MaxRSABits + 8: ErrAnswer} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "c"}}
		public := &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 1<<31 - 1}
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer)
		require.NoError(t, err)
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		_, err = parseCertsOnly(testpki.CertsOnly(c))
		require.ErrorIs(t, err, want)
	}
}

// answering returns a client of a server that always answers the same.
func answering(t *testing.T, code int, kind, body string) *Client {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return &Client{URL: server.URL, HTTP: server.Client()}
}

// TestLongRefusal has a status with more text than an answer may have: the status
// counts.
func TestLongRefusal(t *testing.T) {
	t.Parallel()
	c := answering(t, http.StatusUnauthorized, "text/plain", strings.Repeat("no ", 1000))
	c.MaxAnswer = 1500
	_, err := c.CACerts(t.Context())
	requireStatus(t, err, http.StatusUnauthorized)
	c = answering(t, http.StatusNotFound, "text/html", strings.Repeat("no ", 1000))
	c.MaxAnswer = 10
	_, err = c.CSRAttributes(t.Context())
	require.NoError(t, err)
}

// TestLongContentType has a server that wants to fill the log.
func TestLongContentType(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<16)
	for _, kind := range []string{"text/" + long, typePKCS7 + "; smime-type=" + long} {
		csr, _ := request(t, "t.example")
		_, err := answering(t, http.StatusOK, kind, "").SimpleEnroll(t.Context(), csr)
		require.ErrorIs(t, err, ErrAnswer)
		require.Less(t, len(err.Error()), 1<<10)
	}
}

// TestWaitIsNotExceeded has a server that does not say how long it wants.
func TestWaitIsNotExceeded(t *testing.T) {
	t.Parallel()
	c := answering(t, http.StatusAccepted, "", "")
	var slept time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error { slept += d; return nil }
	c.Wait = 2500 * time.Millisecond
	csr, _ := request(t, "t.example")
	var pending *PendingError
	_, err := c.SimpleEnroll(t.Context(), csr)
	require.ErrorAs(t, err, &pending)
	require.Equal(t, 2*time.Second, slept)
}
