// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package screen_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/pairing/screen"
)

func TestMain(m *testing.M) {
	os.Exit(hsmtest.LeakFree(hsmtest.Main(m)))
}

// list is a pairing.Registry in memory that trusts what it lists.
type list struct {
	mu    sync.Mutex
	certs []*x509.Certificate
}

func (l *list) Add(_ context.Context, _ string, chain []*x509.Certificate) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.certs = append(slices.Clone(l.certs), chain[0])
	return nil
}

func (l *list) Remove(_ context.Context, c *x509.Certificate) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.certs = slices.DeleteFunc(slices.Clone(l.certs), c.Equal)
	return nil
}

func (l *list) Clients() []*x509.Certificate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.certs
}

func (l *list) Verify(chain []*x509.Certificate, _ string, _ x509.ExtKeyUsage, _ time.Time) ([]*x509.Certificate, error) {
	return chain, nil
}

// keys is hsmtls.Keys with one identity.
type keys struct{ cert tls.Certificate }

func (k keys) Certificate(context.Context, string) (*tls.Certificate, error) { return &k.cert, nil }

func key(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return k
}

// newIssuer is the pairing CA with this key.
func newIssuer(t *testing.T, caKey crypto.Signer) *pairing.Issuer {
	t.Helper()
	rootKey, now := key(t), time.Now()
	root, err := pairing.NewLocalRoot(rootKey, pkix.Name{CommonName: "root"}, now)
	require.NoError(t, err)
	ca, err := pairing.NewLocalAuthority(root, rootKey, caKey.Public(), pkix.Name{CommonName: "CA"}, now)
	require.NoError(t, err)
	return &pairing.Issuer{Key: caKey, Chain: []*x509.Certificate{ca, root}}
}

// newTerminal is served on the loopback interface.
func newTerminal(t *testing.T) *pairing.Terminal {
	t.Helper()
	vendor, registry := testpki.NewRoot("vendor"), new(list)
	terminal := &pairing.Terminal{
		Issuer:   newIssuer(t, key(t)),
		Registry: registry, Root: vendor.Certificate, Alias: "terminal_pub",
		Provider: &hsmtls.Provider{Keys: keys{vendor.Server("1234.terminal.test")}, Trust: registry},
	}
	serve(t, terminal)
	return terminal
}

// serve serves a terminal on the loopback interface until the test ends.
func serve(t *testing.T, terminal *pairing.Terminal) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	background(t, func(ctx context.Context) error { return terminal.Serve(ctx, ln) })
	t.Cleanup(func() { require.NoError(t, terminal.Close()) })
	require.Eventually(t, func() bool { return len(terminal.Details().Addresses) == 1 }, 30*time.Second, time.Millisecond)
}

// background runs f until the test ends.
func background(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// browser is the operator's.
type browser struct {
	*http.Client
	base  string
	token string
}

func open(t *testing.T, terminal *pairing.Terminal) *browser {
	t.Helper()
	ln, err := screen.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	page := &screen.Page{Terminal: terminal}
	background(t, func(ctx context.Context) error { return page.Serve(ctx, ln) })
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	b := &browser{Client: &http.Client{Transport: transport}, base: "http://" + ln.Addr().String()}
	found := regexp.MustCompile(`name="token" value="(\w+)"`).FindStringSubmatch(b.get(t, "/"))
	require.Len(t, found, 2)
	b.token = found[1]
	return b
}

func (b *browser) get(t *testing.T, path string) string {
	t.Helper()
	resp, err := b.Get(b.base + path)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", text)
	return string(text)
}

// tap submits a form and returns the page that follows.
func (b *browser) tap(t *testing.T, path string, more ...string) string {
	t.Helper()
	form := url.Values{"token": {b.token}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.base+path, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", b.base)
	resp, err := b.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", text)
	return string(text)
}

var shown = regexp.MustCompile(`<span>(\w{4})</span><span>(\w{4})</span>`)

// TestOperator is what a person does without script: form by form.
func TestOperator(t *testing.T) {
	t.Parallel()
	terminal := newTerminal(t)
	b := open(t, terminal)
	page := b.get(t, "/")
	require.Contains(t, page, "Generate Code")
	require.Contains(t, page, "None.")
	address := terminal.Details().Addresses[0]
	for _, what := range []string{"https://" + address, "wss://" + address, "1234.terminal.test", terminal.Details().Fingerprint, "/qr/" + address} {
		require.Contains(t, page, what)
	}

	page = b.tap(t, "/generate")
	found := shown.FindStringSubmatch(page)
	require.Len(t, found, 3)
	require.Equal(t, terminal.State().Code.Reveal(), found[1]+found[2])
	require.Regexp(t, `data-left="(300|2\d\d)"`, page)

	code, err := pairing.ParseCode(found[1] + found[2])
	require.NoError(t, err)
	client, err := pairing.ParseLink(terminal.Details().Link(address))
	require.NoError(t, err)
	name := `<till> & "4"`
	_, err = client.Pair(t.Context(), pairing.Request{POSID: name, Code: code, Key: key(t)})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return terminal.State().Phase == pairing.PhasePaired }, 30*time.Second, time.Millisecond)

	page = b.get(t, "/panel")
	require.Contains(t, page, "POS Activation Successful")
	require.Contains(t, page, "&lt;till&gt; &amp;")
	require.NotContains(t, page, "<till>")
	page = b.tap(t, "/close")
	require.Contains(t, page, "Generate Code")
	page = b.tap(t, "/revoke", "posId", name)
	require.Contains(t, page, "None.")
	require.Empty(t, terminal.List())
	b.tap(t, "/revoke", "posId", name) // again is no error
}

func TestBlockedIsShown(t *testing.T) {
	t.Parallel()
	terminal := newTerminal(t)
	b := open(t, terminal)
	b.tap(t, "/generate")
	for range 50 {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "https://x/", strings.NewReader(`{"posId":"1","setupCode":"00000000"}`))
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS12}
		terminal.ServeHTTP(w, r)
	}
	require.Contains(t, b.get(t, "/"), "Too many wrong codes")
	require.Regexp(t, shown, b.tap(t, "/generate"))
}

func TestProblemIsShown(t *testing.T) {
	t.Parallel()
	terminal := newTerminal(t)
	b := open(t, terminal)
	terminal.Issuer.Lifetime = -1
	require.Contains(t, b.tap(t, "/generate"), "No code: pairing: incomplete")
	terminal.Issuer.Lifetime = 0
	require.NotContains(t, b.tap(t, "/generate"), "No code")
}

func TestEvents(t *testing.T) {
	t.Parallel()
	terminal := newTerminal(t)
	b := open(t, terminal)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+"/events", nil)
	require.NoError(t, err)
	resp, err := b.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	lines := bufio.NewReader(resp.Body)
	next := func() string {
		line, err := lines.ReadString('\n')
		require.NoError(t, err)
		_, err = lines.ReadString('\n')
		require.NoError(t, err)
		return line
	}
	require.Equal(t, `data: {"kind":"state","phase":"idle","posId":""}`+"\n", next())
	require.NoError(t, terminal.GenerateCode())
	line := next()
	require.Equal(t, `data: {"kind":"code","phase":"showing","posId":""}`+"\n", line)
	terminal.Dismiss()
	require.Equal(t, `data: {"kind":"closed","phase":"idle","posId":""}`+"\n", next())
}

func TestEventStreamsAreLimited(t *testing.T) {
	t.Parallel()
	b := open(t, newTerminal(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	status := 0
	for range 20 {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+"/events", nil)
		require.NoError(t, err)
		resp, err := b.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		status = resp.StatusCode
	}
	require.Equal(t, http.StatusServiceUnavailable, status)
}

func TestQR(t *testing.T) {
	t.Parallel()
	terminal := newTerminal(t)
	b := open(t, terminal)
	image, err := png.Decode(bytes.NewReader([]byte(b.get(t, "/qr/"+terminal.Details().Addresses[0]))))
	require.NoError(t, err)
	require.Greater(t, image.Bounds().Dx(), 100)
	resp, err := b.Get(b.base + "/qr/evil.test:1")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	b := open(t, newTerminal(t))
	for path, media := range map[string]string{"/": "text/html", "/panel": "text/html", "/screen.css": "text/css", "/screen.js": "text/javascript"} {
		resp, err := b.Get(b.base + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode, path)
		require.Contains(t, resp.Header.Get("Content-Type"), media)
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'")
		require.NotContains(t, resp.Header.Get("Content-Security-Policy"), "unsafe")
		require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
		require.Equal(t, "same-origin", resp.Header.Get("Cross-Origin-Resource-Policy"))
	}
	page := b.get(t, "/")
	require.NotRegexp(t, `(?i)\son\w+=|style=|<script>|//cdn|https?://[^1]`, page, "nothing inline, nothing from elsewhere")
}

func TestListen(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1:0", "localhost:0", "127.1.2.3:0"} {
		ln, err := screen.Listen(t.Context(), addr)
		require.NoError(t, err, addr)
		require.NoError(t, ln.Close())
	}
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.168.1.1:0", "example.com:0"} {
		_, err := screen.Listen(t.Context(), addr)
		require.ErrorIs(t, err, screen.ErrNotLoopback, addr)
	}
	_, err := screen.Listen(t.Context(), "127.0.0.1")
	require.Error(t, err)
}

func TestOthersAreRefused(t *testing.T) {
	t.Parallel()
	terminal := newTerminal(t)
	b := open(t, terminal)
	base, err := url.Parse(b.base)
	require.NoError(t, err)
	here := func(t *testing.T, addr string) *http.Request {
		a, err := net.ResolveTCPAddr("tcp", addr)
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080/", nil)
		r.RemoteAddr = "127.0.0.1:5"
		return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, a))
	}
	page := &screen.Page{Terminal: terminal}
	answer := func(r *http.Request) int {
		w := httptest.NewRecorder()
		page.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, http.StatusOK, answer(here(t, "127.0.0.1:8080")), "the twin")
	require.Equal(t, http.StatusInternalServerError, func() int {
		w := httptest.NewRecorder()
		new(screen.Page).ServeHTTP(w, here(t, "127.0.0.1:8080"))
		return w.Code
	}())
	for name, change := range map[string]func(*http.Request){
		"rebound name":  func(r *http.Request) { r.Host = "evil.test:8080" },
		"no port":       func(r *http.Request) { r.Host = "127.0.0.1" },
		"other port":    func(r *http.Request) { r.Host = "127.0.0.1:8081" },
		"trick name":    func(r *http.Request) { r.Host = "127.0.0.1.evil.test:8080" },
		"other machine": func(r *http.Request) { r.RemoteAddr = "192.168.1.2:5" },
		"other site":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"same site":     func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
	} {
		r := here(t, "127.0.0.1:8080")
		change(r)
		require.Equal(t, http.StatusForbidden, answer(r), name)
	}
	require.Equal(t, http.StatusForbidden, answer(here(t, "192.168.1.1:8080")), "not on loopback")
	require.Equal(t, http.StatusForbidden, answer(httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080/", nil)), "no idea where")

	post := func(origin, token string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.base+"/generate", strings.NewReader("token="+token))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		resp, err := b.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	for _, origin := range []string{"", "null", "https://evil.test", "http://localhost:" + base.Port(), "http://127.0.0.1:1"} {
		require.Equal(t, http.StatusForbidden, post(origin, b.token), "%q", origin)
	}
	for _, token := range []string{"", "x", strings.ToLower(b.token), strings.Repeat("x", 8<<10)} {
		require.Equal(t, http.StatusForbidden, post(b.base, token))
	}
	require.Equal(t, pairing.PhaseIdle, terminal.State().Phase)
	resp, err := b.Get(b.base + "/generate")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	require.Equal(t, http.StatusOK, post(b.base, b.token), "the twin")
}
