// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package est

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// site is an EST server and what a client of it needs.
type site struct {
	*testpki.EST
	url   string
	roots *x509.CertPool
}

func serve(t *testing.T, e *testpki.EST) *site {
	t.Helper()
	root := testpki.NewRoot("host root")
	server := httptest.NewUnstartedServer(e)
	server.TLS = e.TLSConfig(root.Server("127.0.0.1"))
	server.StartTLS()
	t.Cleanup(server.Close)
	s := &site{EST: e, url: server.URL, roots: x509.NewCertPool()}
	s.roots.AddCert(root.Certificate)
	return s
}

// client presents a certificate, nil for none.
func (s *site) client(t *testing.T, cert *tls.Certificate) *Client {
	t.Helper()
	cfg := &tls.Config{RootCAs: s.roots}
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	transport := &http.Transport{TLSClientConfig: cfg}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{URL: s.url, HTTP: &http.Client{Transport: transport}, Label: s.Label}
}

func password(p string) func(context.Context) (string, string, error) {
	return func(context.Context) (string, string, error) { return "t-0042", p, nil }
}

func request(t testing.TB, name string) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
	}, key)
	require.NoError(t, err)
	return der, key
}

func issuingCA() *testpki.CA {
	return testpki.NewRoot("acquirer root").NewIntermediate("upper").NewIntermediate("lower")
}

// TestEnrollAndReenroll goes from a password to a certificate to the next one.
func TestEnrollAndReenroll(t *testing.T) {
	t.Parallel()
	for _, label := range []string{"", "terminals"} {
		s := serve(t, &testpki.EST{CA: issuingCA(), Label: label, User: "t-0042", Password: "secret"})
		csr, key := request(t, "t-0042.example")
		c := s.client(t, nil)
		_, err := c.SimpleEnroll(t.Context(), csr)
		requireStatus(t, err, http.StatusUnauthorized)
		c.Login = password("secret")
		chain, err := c.SimpleEnroll(t.Context(), csr)
		require.NoError(t, err)
		require.Len(t, chain, 3, "the certificate and two issuers, in order")
		require.True(t, key.PublicKey.Equal(chain[0].PublicKey))
		require.NoError(t, chain[1].CheckSignatureFrom(chain[2]))

		mutual := s.client(t, &tls.Certificate{Certificate: [][]byte{chain[0].Raw, chain[1].Raw}, PrivateKey: key})
		again, err := mutual.SimpleReenroll(t.Context(), csr)
		require.NoError(t, err)
		require.NotEqual(t, chain[0].SerialNumber, again[0].SerialNumber)
		other, _ := request(t, "other.example")
		_, err = mutual.SimpleReenroll(t.Context(), other)
		requireStatus(t, err, http.StatusBadRequest)
		_, err = c.SimpleReenroll(t.Context(), csr)
		requireStatus(t, err, http.StatusForbidden)
	}
}

func requireStatus(t *testing.T, err error, code int) {
	t.Helper()
	var status *StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, code, status.Code)
	require.NotEmpty(t, status.Text)
}

func TestCACerts(t *testing.T) {
	t.Parallel()
	ca := issuingCA()
	s := serve(t, &testpki.EST{CA: ca})
	found, err := s.client(t, nil).CACerts(t.Context())
	require.NoError(t, err)
	require.Equal(t, ca.Chain(), found)
}

func TestCSRAttributes(t *testing.T) {
	t.Parallel()
	for name, wishes := range map[string][]byte{"none": nil, "some": attributes(t)} {
		s := serve(t, &testpki.EST{CA: issuingCA(), Wishes: wishes})
		a, err := s.client(t, nil).CSRAttributes(t.Context())
		require.NoError(t, err, name)
		require.Equal(t, wishes != nil, a.Wants(OIDChallengePassword))
		require.Equal(t, wishes != nil, a.Wants(oidExtensions))
		require.False(t, a.Wants(asn1.ObjectIdentifier{1, 2, 3}))
	}
	for _, bad := range [][]byte{{}, {0x30}, {0x05, 0}, {0x30, 2, 0x05, 0}, {0x30, 3, 0x06, 1, 0x80}, append(attributes(t), 0x05, 0)} {
		_, err := parseAttributes(bad)
		require.ErrorIs(t, err, ErrAnswer, "%x", bad)
	}
}

var oidExtensions = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}

func attributes(t testing.TB) []byte {
	t.Helper()
	id, err := asn1.Marshal(OIDChallengePassword)
	require.NoError(t, err)
	attribute, err := asn1.Marshal(Attribute{oidExtensions, []asn1.RawValue{{Tag: asn1.TagOID, Bytes: []byte{0x2a, 3}}}})
	require.NoError(t, err)
	der, err := asn1.Marshal([]asn1.RawValue{{FullBytes: id}, {FullBytes: attribute}})
	require.NoError(t, err)
	return der
}

// TestPending is put off twice.
func TestPending(t *testing.T) {
	t.Parallel()
	e := &testpki.EST{CA: issuingCA(), User: "t-0042", Password: "secret", RetryAfter: 7}
	s := serve(t, e)
	csr, _ := request(t, "t.example")
	c := s.client(t, nil)
	c.Login = password("secret")
	var slept []time.Duration
	c.sleep = func(_ context.Context, d time.Duration) error { slept = append(slept, d); return nil }
	var pending *PendingError

	e.Pending.Store(2)
	_, err := c.SimpleEnroll(t.Context(), csr)
	require.ErrorAs(t, err, &pending)
	require.Equal(t, 7*time.Second, pending.RetryAfter)
	require.Empty(t, slept)

	e.Pending.Store(2)
	c.Wait = 13 * time.Second
	_, err = c.SimpleEnroll(t.Context(), csr)
	require.ErrorAs(t, err, &pending, "the second pause would be too long")
	require.Len(t, slept, 1)

	e.Pending.Store(2)
	c.Wait = 14 * time.Second
	_, err = c.SimpleEnroll(t.Context(), csr)
	require.NoError(t, err)

	e.Pending.Store(1)
	c.sleep = func(context.Context, time.Duration) error { return context.Canceled }
	_, err = c.SimpleEnroll(t.Context(), csr)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorAs(t, err, &pending)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, new(Client).pause(ended, time.Hour), context.Canceled)
	require.NoError(t, new(Client).pause(t.Context(), 0))
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for field, want := range map[string]time.Duration{
		"": 0, "0": 0, "90": 90 * time.Second, "-1": 0, "99999999999999999999": 0, "soon": 0,
		"Tue, 01 Jan 2030 00:01:00 GMT": time.Minute, "Mon, 31 Dec 2029 00:00:00 GMT": 0,
	} {
		require.Equal(t, want, retryAfter(field, now), field)
	}
}

// TestAnswersRefused has everything that an answer can do wrong.
func TestAnswersRefused(t *testing.T) {
	t.Parallel()
	ca := issuingCA()
	stranger, _ := request(t, "t.example")
	csr, key := request(t, "t.example")
	mine := func() *x509.Certificate { return ca.Issue(testpki.ClientTemplate("t.example"), key.Public()) }
	certsOnly := "application/pkcs7-mime; smime-type=certs-only"
	put := func(kind string, der []byte) func(string, []byte) (string, []byte) {
		return func(string, []byte) (string, []byte) { return kind, encode(der) }
	}
	tests := []struct {
		name   string
		change func(string, []byte) (string, []byte)
		want   error
	}{
		{"type", put("application/pkcs7-signature", testpki.CertsOnly(mine())), ErrAnswer},
		{"no type", put("", testpki.CertsOnly(mine())), ErrAnswer},
		{"smime-type", put("application/pkcs7-mime; smime-type=signed-data", testpki.CertsOnly(mine())), ErrAnswer},
		{"no base64", func(k string, _ []byte) (string, []byte) { return certsOnly, testpki.CertsOnly(mine()) }, ErrAnswer},
		{"nothing", put(certsOnly, nil), ErrAnswer},
		{"no PKCS #7", put(certsOnly, mine().Raw), ErrAnswer},
		{"something behind it", put(certsOnly, append(testpki.CertsOnly(mine()), 5, 0)), ErrAnswer},
		{"no certificate", put(certsOnly, testpki.CertsOnly()), ErrAnswer},
		{"nobody's certificate", put(certsOnly, testpki.CertsOnly(ca.Certificate)), ErrOtherKey},
		{"two certificates", put(certsOnly, testpki.CertsOnly(mine(), mine())), ErrOtherKey},
		{"large", func(k string, b []byte) (string, []byte) { return k, make([]byte, 1<<20+1) }, ErrTooLarge},
	}
	for _, tt := range tests {
		s := serve(t, &testpki.EST{CA: ca, User: "t-0042", Password: "secret", Change: tt.change})
		c := s.client(t, nil)
		c.Login = password("secret")
		_, err := c.SimpleEnroll(t.Context(), csr)
		require.ErrorIs(t, err, tt.want, tt.name)
	}
	s := serve(t, &testpki.EST{CA: ca})
	for _, bad := range [][]byte{nil, stranger[1:], append(csr[:len(csr)-1:len(csr)-1], csr[len(csr)-1]^1)} {
		_, err := s.client(t, nil).SimpleEnroll(t.Context(), bad)
		require.ErrorIs(t, err, ErrRequest)
	}
	require.Zero(t, s.Asked.Load(), "what is no request is not sent")
}

func TestIncomplete(t *testing.T) {
	t.Parallel()
	s := serve(t, &testpki.EST{CA: issuingCA()})
	good := s.client(t, nil)
	for name, c := range map[string]*Client{
		"nil": nil, "zero": {}, "no HTTP": {URL: good.URL}, "no URL": {HTTP: good.HTTP},
		"plaintext": {HTTP: good.HTTP, URL: "http://est.example"}, "path": {HTTP: good.HTTP, URL: good.URL + "/x"},
		"query": {HTTP: good.HTTP, URL: good.URL + "?x"}, "password": {HTTP: good.HTTP, URL: "https://u:p@est.example"},
		"label": {HTTP: good.HTTP, URL: good.URL, Label: "a/b"}, "escape": {HTTP: good.HTTP, URL: good.URL, Label: ".."},
		"operation": {HTTP: good.HTTP, URL: good.URL, Label: "simpleenroll"},
	} {
		_, err := c.CACerts(t.Context())
		require.ErrorIs(t, err, ErrIncomplete, name)
	}
	errLogin := errors.New("no password")
	good.Login = func(context.Context) (string, string, error) { return "", "", errLogin }
	_, err := good.CACerts(t.Context())
	require.ErrorIs(t, err, errLogin)
	good.Login = func(context.Context) (string, string, error) { return "terminal:1", "secret", nil }
	_, err = good.CACerts(t.Context())
	require.ErrorIs(t, err, ErrIncomplete)
	require.NotContains(t, err.Error(), "secret")
	require.Zero(t, s.Asked.Load())

	good.Login, good.HTTP = nil, &http.Client{}
	_, err = good.CACerts(t.Context())
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown, "trust is that of the transport")
}

// TestRedirect is not followed, with the password least of all.
func TestRedirect(t *testing.T) {
	t.Parallel()
	other := serve(t, &testpki.EST{CA: issuingCA()})
	server := httptest.NewTLSServer(http.RedirectHandler(other.url+"/.well-known/est/cacerts", http.StatusTemporaryRedirect))
	defer server.Close()
	c := &Client{URL: server.URL, HTTP: server.Client(), Login: password("secret")}
	_, err := c.CACerts(t.Context())
	var status *StatusError
	require.ErrorAs(t, err, &status)
	require.Equal(t, http.StatusTemporaryRedirect, status.Code)
	require.Zero(t, other.Asked.Load())
}

// TestOpenSSL reads what OpenSSL writes, and has it read what our server writes.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	ca := issuingCA()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.WriteFile(file("ca.pem"), testpki.PEM(ca.Chain()...), 0o600))
	out, err := exec.Command("openssl", "crl2pkcs7", "-nocrl", "-certfile", file("ca.pem"), "-outform", "DER", "-out", file("theirs.p7")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	der, err := os.ReadFile(file("theirs.p7"))
	require.NoError(t, err)
	found, err := parseCertsOnly(der)
	require.NoError(t, err)
	require.Equal(t, ca.Chain(), found)

	require.NoError(t, os.WriteFile(file("ours.p7"), testpki.CertsOnly(ca.Chain()...), 0o600))
	out, err = exec.Command("openssl", "pkcs7", "-inform", "DER", "-in", file("ours.p7"), "-print_certs").Output()
	require.NoError(t, err)
	var read []*x509.Certificate
	for block, rest := pem.Decode(out); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
		read = append(read, c)
	}
	require.Equal(t, ca.Chain(), read)
}

// TestIndefiniteLengths reads BER as some CAs write it.
func TestIndefiniteLengths(t *testing.T) {
	t.Parallel()
	ca := issuingCA()
	var info, content asn1.RawValue
	rest, err := asn1.Unmarshal(testpki.CertsOnly(ca.Certificate), &info)
	require.NoError(t, err)
	require.Empty(t, rest)
	rest, err = asn1.Unmarshal(info.Bytes, &content) // the object identifier
	require.NoError(t, err)
	body := append([]byte{}, content.FullBytes...)
	_, err = asn1.Unmarshal(rest, &content)
	require.NoError(t, err)
	end := []byte{0, 0}
	ber := append([]byte{0x30, 0x80}, body...)
	ber = append(append(append(append(ber, 0xa0, 0x80), content.Bytes...), end...), end...)
	found, err := parseCertsOnly(ber)
	require.NoError(t, err)
	require.Equal(t, []*x509.Certificate{ca.Certificate}, found)
	_, err = parseCertsOnly(ber[:len(ber)-1])
	require.ErrorIs(t, err, ErrAnswer)

	deep := make([]byte, 0, 2000)
	for range 1000 {
		deep = append(deep, 0x30, 0x80)
	}
	require.ErrorIs(t, checkBER(deep), errTooDeep)
}
