// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// httpServer serves w's server over HTTP and answers with the client's name.
func (w *world) httpServer(t *testing.T) string {
	t.Helper()
	ln, err := w.server.Listen(t.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(t, err)
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, r.TLS.PeerCertificates[0].Subject.CommonName)
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

func TestTransportByHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keys.set("second", w.root.Client("terminal 2"))
	one, two, three := w.httpServer(t), w.httpServer(t), w.httpServer(t)
	tr := w.client.Transport(ByHost(map[string]string{one: terminal, two: "second"}))
	defer tr.CloseIdleConnections()

	for range 2 { // pooled the second time
		require.Equal(t, "terminal 1", get(t, tr, "https://"+one))
		require.Equal(t, "terminal 2", get(t, tr, "https://"+two))
	}
	_, err := (&http.Client{Transport: tr}).Get("https://" + three)
	require.ErrorIs(t, err, ErrNoRoute)
	require.EqualValues(t, 1, w.clientKey.signed.Load())
}

func TestByHost(t *testing.T) {
	t.Parallel()
	route := ByHost(map[string]string{"Acquirer.example": "a", "acquirer.example:9": "b", "::1": "c"})
	tests := []struct{ addr, want string }{
		{"acquirer.example:443", "a"},
		{"ACQUIRER.EXAMPLE:443", "a"},
		{"acquirer.example:9", "b"},
		{"[::1]:443", "c"},
	}
	for _, tt := range tests {
		got, err := route(tt.addr)
		require.NoError(t, err)
		require.Equal(t, tt.want, got, tt.addr)
	}
	for _, addr := range []string{"other.example:443", "sub.acquirer.example:443", "acquirer.example", ""} {
		_, err := route(addr)
		if addr != "acquirer.example" { // not an address, but a key
			require.ErrorIs(t, err, ErrNoRoute, addr)
		}
	}
}

func TestTransportWithoutRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := (&http.Client{Transport: w.client.Transport(nil)}).Get("https://127.0.0.1:1")
	require.ErrorIs(t, err, ErrNoRoute)
}

func TestTransportRefusesPlaintext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	_, err := (&http.Client{Transport: w.client.Transport(Alias(terminal))}).Get(plain.URL)
	require.ErrorIs(t, err, ErrPlaintext)
}

// TestTransportRefusesProxy sets a proxy on the finished transport, which
// crypto/tls would then use with a configuration of its own.
func TestTransportRefusesProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	origin := w.httpServer(t)
	refusals := map[string]func(*testing.T, error){
		"http": isErr(ErrPlaintext), "socks5": isErr(ErrPlaintext), "https": as[x509.UnknownAuthorityError],
	}
	for scheme, refused := range refusals {
		for _, h2 := range []bool{false, true} {
			tr := w.client.Transport(Alias(terminal))
			if h2 {
				tr = w.client.TransportHTTP2(Alias(terminal))
			}
			proxy := &url.URL{Scheme: scheme, Host: w.connectProxy(t)}
			tr.Proxy = http.ProxyURL(proxy)
			_, err := (&http.Client{Transport: tr}).Get("https://" + origin)
			refused(t, err)
			tr.CloseIdleConnections()
		}
	}
}

// connectProxy is an https proxy that our client trusts and that grants every
// CONNECT, so that only the inner handshake can refuse.
func (w *world) connectProxy(t *testing.T) string {
	t.Helper()
	ln, err := w.server.Listen(t.Context(), "tcp", "127.0.0.1:0", acquirer)
	require.NoError(t, err)
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(tunnel)}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// tunnel answers CONNECT with a tunnel to a stock TLS server of its own.
func tunnel(rw http.ResponseWriter, r *http.Request) {
	conn, _, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	stock := httptest.NewUnstartedServer(nil)
	stock.Config.ErrorLog = log.New(io.Discard, "", 0)
	stock.StartTLS()
	defer stock.Close()
	tls.Server(conn, stock.TLS).Handshake()
}

func TestTransportFailsClosed(t *testing.T) {
	t.Parallel()
	tr := new(Provider).Transport(Alias(terminal))
	require.Nil(t, tr.Proxy)
	stock := httptest.NewUnstartedServer(http.NotFoundHandler())
	stock.Config.ErrorLog = log.New(io.Discard, "", 0)
	stock.StartTLS()
	defer stock.Close()
	cfg := tr.TLSClientConfig.Clone()
	cfg.ServerName = "example.com"
	_, err := dialStock(stock.Listener.Addr().String(), cfg)
	require.Error(t, err)
	cfg.InsecureSkipVerify = true
	_, err = dialStock(stock.Listener.Addr().String(), cfg)
	require.ErrorIs(t, err, ErrPlaintext)
}

func TestInstallDefault(t *testing.T) { // not parallel: replaces a global
	w := newWorld(t)
	addr := w.httpServer(t)
	old := http.DefaultTransport

	restore, err := w.client.InstallDefault(terminal)
	require.NoError(t, err)
	require.Equal(t, "terminal 1", get(t, nil, "https://"+addr))
	require.IsType(t, &http.Transport{}, http.DefaultTransport, "third parties assert this type")
	restore()
	require.Same(t, old, http.DefaultTransport)

	outer, err := w.client.InstallDefault(terminal)
	require.NoError(t, err)
	restore() // long done: must not disturb the second installation
	require.NotSame(t, old, http.DefaultTransport)
	inner, err := w.client.InstallDefault(terminal)
	require.NoError(t, err)
	ours := http.DefaultTransport
	outer() // not the current one
	require.Same(t, ours, http.DefaultTransport)
	inner()
	http.DefaultTransport = old
}

func TestInstallDefaultRefuses(t *testing.T) { // not parallel: looks at a global
	w := newWorld(t)
	old := http.DefaultTransport
	for _, p := range []*Provider{nil, {}, {Keys: w.keys}} {
		_, err := p.InstallDefault(terminal)
		require.ErrorIs(t, err, ErrIncomplete)
	}
	_, err := w.client.InstallDefault("")
	require.ErrorIs(t, err, ErrIncomplete)
	require.Same(t, old, http.DefaultTransport)
}
