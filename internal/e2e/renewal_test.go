// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/est"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// An office issues certificates each of which ends an hour after the last.
type office struct {
	ca     *testpki.CA
	usage  x509.ExtKeyUsage
	issued atomic.Int64
}

func (o *office) issue(csr *x509.CertificateRequest) *x509.Certificate {
	n := o.issued.Add(1)
	return o.ca.Issue(&x509.Certificate{
		Subject: csr.Subject, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, ExtKeyUsage: []x509.ExtKeyUsage{o.usage},
		NotAfter: time.Now().Add(365*24*time.Hour + time.Duration(n)*time.Hour),
	}, csr.PublicKey)
}

// submit answers with the leaf alone, as EST servers do.
func (o *office) submit(_ context.Context, der []byte) ([]*x509.Certificate, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{o.issue(csr)}, nil
}

// TestRenewalUnderTraffic renews both certificates ten times while others dial, in
// full and resumed, and talk HTTP. Nothing fails, and what begins after a renewal
// shows the renewed certificate.
func TestRenewalUnderTraffic(t *testing.T) {
	t.Parallel()
	s := newStation(t, setup{})
	server := s.listen(t, s.p)
	ctx, cancel := context.WithCancel(t.Context())
	open, err := s.p.Dial(t.Context(), "tcp", server.addr, terminal)
	require.NoError(t, err)
	defer open.Close()

	var running sync.WaitGroup
	var done atomic.Int64
	failures := make(chan error, 1<<16)
	for _, p := range []*hsmtls.Provider{s.p, s.p, {Keys: s.keys, Trust: s.trust, SessionLifetime: -1}} {
		running.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.dial(context.WithoutCancel(ctx), p, server.addr); err != nil {
					failures <- err
				}
				done.Add(1)
			}
		})
	}
	offices := map[string]*office{terminal: {ca: s.devices, usage: x509.ExtKeyUsageClientAuth}, acquirer: {ca: s.hosts, usage: x509.ExtKeyUsageServerAuth}}
	for range 10 {
		for alias, o := range offices {
			renewed, err := s.keys.Renew(t.Context(), alias, keystore.Renewal{}, o.submit)
			require.NoError(t, err)
			conn, err := s.dial(t.Context(), s.p, server.addr)
			require.NoError(t, err)
			if alias == acquirer {
				require.Equal(t, renewed.Chain[0].SerialNumber, conn.ConnectionState().PeerCertificates[0].SerialNumber)
			}
		}
	}
	cancel()
	running.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	require.Positive(t, done.Load())
	require.NoError(t, ping(open), "the connection from before goes on")
}

// TestRenewalByAnother renews through another Store, as another process would.
func TestRenewalByAnother(t *testing.T) {
	t.Parallel()
	s := newStation(t, setup{})
	server := s.listen(t, s.p)
	serial := func() string {
		conn, err := s.dial(t.Context(), s.p, server.addr)
		require.NoError(t, err)
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	o := &office{ca: s.hosts, usage: x509.ExtKeyUsageServerAuth}
	renewed, err := keystore.New(s.token).Renew(t.Context(), acquirer, keystore.Renewal{}, o.submit)
	require.NoError(t, err)
	require.Equal(t, before, serial())
	require.NoError(t, s.keys.Refresh(t.Context()))
	require.Equal(t, renewed.Chain[0].SerialNumber.String(), serial())
}

// TestEST goes the whole way: a fresh key, a certificate for a password, mutual TLS
// with it, the next certificate for the present one, and the switch.
func TestEST(t *testing.T) {
	t.Parallel()
	s := newStation(t, setup{})
	o := &office{ca: s.devices, usage: x509.ExtKeyUsageClientAuth}
	handler := &testpki.EST{CA: s.devices, Label: "terminals", User: "t-0042", Password: "secret", Issue: o.issue}
	server := httptest.NewUnstartedServer(handler)
	server.TLS = handler.TLSConfig(s.hosts.Server(loopback))
	server.StartTLS()
	defer server.Close()
	const alias = "enrolled_pub"
	_, err := s.keys.Generate(t.Context(), "fresh", keystore.P256)
	require.NoError(t, err)
	csr, err := s.keys.CSR(t.Context(), "fresh", keystore.Request{Subject: pkix.Name{CommonName: "t-0042"}, DNSNames: []string{"t-0042.test"}})
	require.NoError(t, err)

	stranger := s.p.AnonymousTransport()
	defer stranger.CloseIdleConnections()
	first := &est.Client{
		URL: server.URL, Label: "terminals", HTTP: &http.Client{Transport: stranger},
		Login: func(context.Context) (string, string, error) { return "t-0042", "secret", nil },
	}
	chain, err := first.SimpleEnroll(t.Context(), csr)
	require.NoError(t, err)
	require.NoError(t, s.keys.Inject(t.Context(), alias, "fresh", chain))
	for _, entry := range s.trust.Entries() {
		require.Contains(t, []string{"devices", "hosts"}, entry.Alias, "nothing is trusted for having been answered")
	}

	mutual := s.p.Transport(hsmtls.Alias(alias))
	defer mutual.CloseIdleConnections()
	whoami := s.whoami(t)
	require.Equal(t, chain[0].SerialNumber.String(), get(t, mutual, whoami))
	client := &est.Client{URL: server.URL, Label: "terminals", HTTP: &http.Client{Transport: mutual}}
	renewed, err := s.keys.Renew(t.Context(), alias, keystore.Renewal{}, client.SimpleReenroll)
	require.NoError(t, err)
	require.NotEqual(t, chain[0].SerialNumber, renewed.Chain[0].SerialNumber)
	require.Equal(t, renewed.Chain[0].SerialNumber.String(), get(t, mutual, whoami), "over a new connection")

	wider := s.p.Transport(hsmtls.Alias(alias))
	defer wider.CloseIdleConnections()
	handler.Issue = func(csr *x509.CertificateRequest) *x509.Certificate {
		csr.DNSNames = append(csr.DNSNames, "more.test")
		return o.issue(csr)
	}
	_, err = s.keys.Renew(t.Context(), alias, keystore.Renewal{}, client.SimpleReenroll)
	require.ErrorIs(t, err, keystore.ErrWider)
	require.Equal(t, renewed.Chain[0].SerialNumber.String(), get(t, wider, whoami), "all as it was")
}

// whoami answers with the serial number of the client's certificate.
func (s *station) whoami(t *testing.T) (url string) {
	t.Helper()
	ln, err := s.p.Listen(t.Context(), "tcp", loopback+":0", acquirer)
	require.NoError(t, err)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, clientOf(r.TLS).SerialNumber.String())
	})}
	var running sync.WaitGroup
	running.Go(func() { _ = web.Serve(ln) })
	t.Cleanup(func() { _ = web.Close(); running.Wait() })
	return "https://" + ln.Addr().String()
}

func clientOf(cs *tls.ConnectionState) *x509.Certificate { return cs.PeerCertificates[0] }

func get(t *testing.T, transport http.RoundTripper, url string) string {
	t.Helper()
	response, err := (&http.Client{Transport: transport}).Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}
