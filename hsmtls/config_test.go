// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestBareConfigs uses both bare configurations as any library would.
func TestBareConfigs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	serverCfg, err := w.server.ServerConfig(t.Context(), acquirer)
	require.NoError(t, err)
	clientCfg, err := w.client.ClientConfig(t.Context(), terminal)
	require.NoError(t, err)
	s := stockServer(t, serverCfg)
	clientCfg.ServerName = host

	for range 2 {
		conn, err := tls.Dial("tcp", s.addr, clientCfg)
		require.NoError(t, err)
		ping(t, conn)
		require.False(t, conn.ConnectionState().DidResume, "a bare client configuration does not resume")
		require.NoError(t, conn.Close())
		require.NoError(t, <-s.result)
		require.Len(t, (<-s.state).PeerCertificates, 2)
	}
}

func TestBareClientConfigRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	tests := []struct {
		name string
		edit func(cfg *tls.Config)
		want func(*testing.T, error)
	}{
		{"no server name", func(cfg *tls.Config) { cfg.ServerName = "" }, isErr(ErrNoServerName)},
		{"address as server name", func(cfg *tls.Config) { cfg.ServerName = "127.0.0.1" }, isErr(ErrNoServerName)},
		{"wrong server name", func(cfg *tls.Config) { cfg.ServerName = "other.example" }, as[x509.HostnameError]},
		{"InsecureSkipVerify cleared", func(cfg *tls.Config) { cfg.InsecureSkipVerify = false }, as[x509.UnknownAuthorityError]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, err := w.client.ClientConfig(t.Context(), terminal)
			require.NoError(t, err)
			cfg.ServerName = host
			tt.edit(cfg)
			_, err = dialStock(s.addr, cfg)
			tt.want(t, err)
		})
	}
}

// dialStock dials without letting crypto/tls infer a server name.
func dialStock(addr string, cfg *tls.Config) (*tls.Conn, error) {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, cfg)
	if err := conn.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

func TestBareServerConfigNeedsItsCallback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg, err := w.server.ServerConfig(t.Context(), acquirer)
	require.NoError(t, err)
	cfg.GetConfigForClient = nil
	cfg.Certificates = []tls.Certificate{} // tls.Listen wants one, tls.NewListener does not
	_, err = tls.Listen("tcp", "127.0.0.1:0", cfg)
	require.Error(t, err)
}

// TestServerConfigHidesTrust shows that a large trust store does not reach the
// CertificateRequest, where its subjects would not fit.
func TestServerConfigHidesTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	var sent [][]byte
	cfg := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	cfg.GetClientCertificate = func(cri *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		sent = cri.AcceptableCAs
		return w.keys.Certificate(t.Context(), terminal)
	}
	conn, err := tls.Dial("tcp", s.addr, cfg)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Empty(t, sent)
}

// TestClientRefusesForeignRequest shows that a server which does not accept our
// issuer gets an error, not a handshake without a certificate.
func TestClientRefusesForeignRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cert, err := w.keys.Certificate(t.Context(), acquirer)
	require.NoError(t, err)
	other := x509.NewCertPool()
	other.AddCert(testpki.NewRoot("Other").Certificate)
	s := stockServer(t, &tls.Config{
		Certificates: []tls.Certificate{*cert}, MaxVersion: tls.VersionTLS12,
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: other,
	})
	_, err = w.dial(t, s)
	require.Error(t, err)
	require.Error(t, <-s.result)
	require.Zero(t, w.clientKey.signed.Load())
}

func TestHTTPServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, r.Proto+" "+r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	tests := []struct {
		name      string
		protos    []string
		transport func(Route) *http.Transport
		want      string
	}{
		{"HTTP/1.1", nil, w.client.Transport, "HTTP/1.1 terminal 1"},
		{"HTTP/1.1 client, HTTP/2 server", []string{"h2", "http/1.1"}, w.client.Transport, "HTTP/1.1 terminal 1"},
		{"HTTP/2 client, HTTP/1.1 server", nil, w.client.TransportHTTP2, "HTTP/1.1 terminal 1"},
		{"HTTP/2", []string{"h2", "http/1.1"}, w.client.TransportHTTP2, "HTTP/2.0 terminal 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := ListenConfig{Provider: w.server, Alias: acquirer, NextProtos: tt.protos}
			ln, err := l.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			srv := &http.Server{Handler: handler}
			go srv.Serve(ln)
			defer srv.Close()

			tr := tt.transport(Alias(terminal))
			defer tr.CloseIdleConnections()
			require.Equal(t, tt.want, get(t, tr, "https://"+ln.Addr().String()))
		})
	}
}

// TestHTTPServerTLS serves the bare configuration through ServeTLS.
func TestHTTPServerTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg, err := w.server.ServerConfig(t.Context(), acquirer)
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, r.Proto)
	}))
	ln := srv.Listener
	hs := &http.Server{Handler: srv.Config.Handler, TLSConfig: cfg}
	go hs.ServeTLS(ln, "", "")
	defer hs.Close()

	tr := w.client.Transport(Alias(terminal))
	defer tr.CloseIdleConnections()
	require.Equal(t, "HTTP/1.1", get(t, tr, "https://"+ln.Addr().String()))
}

func get(t *testing.T, rt http.RoundTripper, url string) string {
	t.Helper()
	resp, err := (&http.Client{Transport: rt}).Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}
