// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// fake is a terminal that answers as it likes.
func fake(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	pki := testpki.NewRoot("vendor root")
	cert := pki.Server(device)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12})
	require.NoError(t, err)
	web := &http.Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- web.Serve(ln) }()
	t.Cleanup(func() {
		require.NoError(t, web.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	root, err := RootOf(pki.Certificate)
	require.NoError(t, err)
	return &Client{URL: "https://" + ln.Addr().String(), Root: root, Name: device}
}

func aRequest(t testing.TB, key crypto.Signer) Request {
	t.Helper()
	return Request{POSID: "123", Code: newCode(), Key: key}
}

func answer(status int, media, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}
}

// answerWebSocket sends a message and a close code.
func answerWebSocket(kind websocket.MessageType, text string, code websocket.StatusCode) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := accept(w, r)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		if _, _, err := conn.Read(r.Context()); err != nil {
			return
		}
		if text != "" {
			_ = conn.Write(r.Context(), kind, []byte(text))
		}
		_ = conn.Close(code, "")
	}
}

func TestBadReplies(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	certified := func(key crypto.Signer, id string) string {
		chain, err := newIssuer(t).Issue(id, key.Public(), time.Now())
		require.NoError(t, err)
		return string(encodeBundle(nil, chain))
	}
	withKey := string(bundleText(t, posKey1()))
	ofOther := func() string {
		chain, err := newIssuer(t).Issue("124", posKey1().Public(), time.Now())
		require.NoError(t, err)
		return string(encodeBundle(posKey1(), chain))
	}()
	refusal := string(refuseCode.encode())
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		key    crypto.Signer
		want   error
		status int
	}{
		"code":              {answer(403, jsonMediaType, refusal), nil, ErrCode, 403},
		"busy":              {answer(503, jsonMediaType, refusal), nil, ErrBusy, 503},
		"taken":             {answer(409, jsonMediaType, refusal), nil, ErrBusy, 409},
		"rate":              {answer(429, jsonMediaType, refusal), nil, ErrBusy, 429},
		"bad request":       {answer(400, jsonMediaType, refusal), nil, ErrRequest, 400},
		"not ours":          {answer(404, "text/html", "<h1>no</h1>"), nil, ErrResponse, 404},
		"empty":             {answer(500, "", ""), nil, ErrResponse, 500},
		"other object":      {answer(400, jsonMediaType, `{"type":"Other"}`), nil, ErrResponse, 400},
		"created":           {answer(201, bundleMedia, withKey), nil, ErrResponse, 201},
		"redirect":          {http.RedirectHandler("https://evil.test/", http.StatusTemporaryRedirect).ServeHTTP, nil, ErrRedirect, 0},
		"redirect, kept":    {http.RedirectHandler("/", http.StatusPermanentRedirect).ServeHTTP, nil, ErrRedirect, 0},
		"200 and no bundle": {answer(200, bundleMedia, "hello"), nil, ErrResponse, 0},
		"200 and a refusal": {answer(200, jsonMediaType, refusal), nil, ErrResponse, 0},
		"CRLF":              {answer(200, bundleMedia, strings.ReplaceAll(withKey, "\n", "\r\n")), nil, ErrBundle, 0},
		"no key":            {answer(200, bundleMedia, certified(key, "123")), nil, ErrResponse, 0},
		"key nobody asked":  {answer(200, bundleMedia, withKey), key, ErrResponse, 0},
		"other's key":       {answer(200, bundleMedia, certified(newKey(t), "123")), key, ErrResponse, 0},
		"other's id":        {answer(200, bundleMedia, ofOther), nil, ErrResponse, 0},
		"endless":           {answer(200, bundleMedia, strings.Repeat("A", 2*maxBundle)), nil, ErrResponse, 0},
		"cut off":           {cutOff, nil, ErrResponse, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fake(t, test.answer)
			_, err := c.Pair(t.Context(), aRequest(t, test.key))
			require.ErrorIs(t, err, test.want)
			var status *StatusError
			require.Equal(t, test.status != 0, errors.As(err, &status))
			if status != nil {
				require.Equal(t, test.status, status.Status)
			}
			require.NotContains(t, err.Error(), "BEGIN")
		})
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
		status int
	}{
		"code":               {answerWebSocket(websocket.MessageText, refusal, 4403), ErrCode, 403},
		"busy":               {answerWebSocket(websocket.MessageText, refusal, 4503), ErrBusy, 503},
		"refusal, then 1000": {answerWebSocket(websocket.MessageText, refusal, 1000), ErrResponse, 0},
		"nothing":            {answerWebSocket(websocket.MessageText, "", 4403), ErrResponse, -1},
		"no bundle":          {answerWebSocket(websocket.MessageText, "hello", 1000), ErrResponse, -1},
		"binary":             {answerWebSocket(websocket.MessageBinary, withKey, 1000), ErrResponse, -1},
		"no upgrade":         {answer(429, jsonMediaType, refusal), ErrBusy, 429},
		"redirect":           {http.RedirectHandler("/x", http.StatusFound).ServeHTTP, ErrRedirect, -1},
	} {
		t.Run("wss "+name, func(t *testing.T) {
			t.Parallel()
			c := fake(t, test.answer)
			c.URL = strings.Replace(c.URL, "https", "wss", 1)
			_, err := c.Pair(t.Context(), aRequest(t, nil))
			require.ErrorIs(t, err, test.want)
			var status *StatusError
			require.Equal(t, test.status >= 0, errors.As(err, &status))
			if status != nil {
				require.Equal(t, test.status, status.Status)
			}
		})
	}
}

// cutOff announces more than it sends.
func cutOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "5000")
	_, _ = w.Write([]byte("-----BEGIN RSA PRIVATE KEY-----\n"))
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "999999999999": time.Hour, "86400": time.Hour} {
		c := fake(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			refuseCode.write(w)
		})
		_, err := c.Pair(t.Context(), aRequest(t, nil))
		var status *StatusError
		require.ErrorAs(t, err, &status)
		require.Equal(t, want, status.RetryAfter, "%q", header)
		require.Equal(t, "ErrorResponse", status.Response.Type)
	}
}

func TestClientErrorsBeforeSending(t *testing.T) {
	t.Parallel()
	root, err := RootOf(testpki.NewRoot("root").Certificate)
	require.NoError(t, err)
	code := newCode()
	for name, test := range map[string]struct {
		c    Client
		r    Request
		want error
	}{
		"no code":       {Client{URL: "https://192.0.2.1", Root: root}, Request{POSID: "1"}, ErrCode},
		"no id":         {Client{URL: "https://192.0.2.1", Root: root}, Request{Code: code}, ErrPOSID},
		"no root":       {Client{URL: "https://192.0.2.1"}, Request{POSID: "1", Code: code}, ErrIncomplete},
		"no URL":        {Client{Root: root}, Request{POSID: "1", Code: code}, ErrRequest},
		"http":          {Client{URL: "http://192.0.2.1", Root: root}, Request{POSID: "1", Code: code}, ErrRequest},
		"ws":            {Client{URL: "ws://192.0.2.1", Root: root}, Request{POSID: "1", Code: code}, ErrRequest},
		"path":          {Client{URL: "https://192.0.2.1/x", Root: root}, Request{POSID: "1", Code: code}, ErrRequest},
		"user":          {Client{URL: "https://u@192.0.2.1/", Root: root}, Request{POSID: "1", Code: code}, ErrRequest},
		"query":         {Client{URL: "https://192.0.2.1/?x", Root: root}, Request{POSID: "1", Code: code}, ErrRequest},
		"no URL at all": {Client{URL: "https://[", Root: root}, Request{POSID: "1", Code: code}, ErrRequest},
		"token gone":    {Client{URL: "https://192.0.2.1", Root: root}, Request{POSID: "1", Code: code, Key: brokenSigner{newKey(t)}}, nil},
	} {
		test.c.NetDial = func(context.Context, string, string) (net.Conn, error) { panic("sent") }
		_, err := test.c.Pair(t.Context(), test.r)
		require.Error(t, err, name)
		if test.want != nil {
			require.ErrorIs(t, err, test.want, name)
		}
	}
	_, err = (&Client{URL: "https://192.0.2.1", Root: root}).Transport(&Bundle{})
	require.ErrorIs(t, err, ErrIncomplete)
	_, err = (&Client{Root: root}).Dial(t.Context(), &Bundle{})
	require.ErrorIs(t, err, ErrRequest)
}

func TestWrongTerminal(t *testing.T) {
	t.Parallel()
	w := serve(t)
	strange, err := RootOf(testpki.NewRoot("other root").Certificate)
	require.NoError(t, err)
	pin, err := ParseFingerprint(Fingerprint(w.pki.Certificate))
	require.NoError(t, err)
	strangePin, err := ParseFingerprint(Fingerprint(testpki.NewRoot("other").Certificate))
	require.NoError(t, err)
	code := w.tap(t)
	for name, test := range map[string]struct {
		change func(*Client)
		want   error
	}{
		"other root":        {func(c *Client) { c.Root = strange }, ErrRoot},
		"other fingerprint": {func(c *Client) { c.Root = strangePin }, ErrRoot},
		"other name":        {func(c *Client) { c.Name = "87654321.terminal.test" }, nil},
		"name is IP":        {func(c *Client) { c.Name = "" }, nil},
		"name, fingerprint": {func(c *Client) { c.Root, c.Name = pin, "x.test" }, nil},
		"too late":          {func(c *Client) { c.Now = func() time.Time { return time.Now().Add(20 * 365 * 24 * time.Hour) } }, nil},
	} {
		for _, scheme := range []string{"https", "wss"} {
			c := w.pos(t, scheme)
			test.change(c)
			_, err := c.Pair(t.Context(), Request{POSID: "1", Code: code})
			var unverified *tls.CertificateVerificationError
			require.ErrorAs(t, err, &unverified, name)
			if test.want != nil {
				require.ErrorIs(t, err, test.want, name)
			}
		}
	}
	require.Equal(t, code, w.State().Code, "none of them gave the code away")
	require.Zero(t, w.State().Wrong)

	for _, scheme := range []string{"https", "wss"} {
		c := w.pos(t, scheme)
		c.Root = pin
		b, err := c.Pair(t.Context(), Request{POSID: "1", Code: w.tap(t)})
		require.NoError(t, err, "the twin")
		require.True(t, b.Root.Equal(w.pki.Certificate))
	}
}

// TestRootWithoutItsSignature offers a root that has the right key and says
// something else than the real one.
func TestRootWithoutItsSignature(t *testing.T) {
	t.Parallel()
	real, other := testpki.NewRoot("real"), testpki.NewRoot("other")
	forged := other.Issue(&x509.Certificate{Subject: real.Certificate.Subject, IsCA: true, BasicConstraintsValid: true}, real.Key.Public())
	leaf := real.Server(device).Leaf
	pin, err := ParseFingerprint(Fingerprint(real.Certificate))
	require.NoError(t, err)
	verify := func(root *x509.Certificate) error {
		_, err := rootTrust{pin}.Verify([]*x509.Certificate{leaf, root}, device, x509.ExtKeyUsageServerAuth, time.Now())
		return err
	}
	require.NoError(t, verify(real.Certificate))
	require.ErrorIs(t, verify(forged), ErrRoot)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageAny} {
		_, err := rootTrust{pin}.Verify([]*x509.Certificate{leaf, real.Certificate}, device, usage, time.Now())
		require.ErrorIs(t, err, ErrRoot)
	}
	_, err = rootTrust{pin}.Verify([]*x509.Certificate{leaf, real.Certificate}, "", x509.ExtKeyUsageServerAuth, time.Now())
	require.ErrorIs(t, err, ErrRoot)
	_, err = rootTrust{}.Verify([]*x509.Certificate{leaf, real.Certificate}, device, x509.ExtKeyUsageServerAuth, time.Now())
	require.ErrorIs(t, err, ErrRoot)
}

func TestLink(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler)
	d := w.Details()
	require.Equal(t, []string{w.addr}, d.Addresses)
	require.Equal(t, device, d.Name)
	require.Equal(t, "https://"+w.addr, d.HTTPS(w.addr))
	require.Equal(t, "wss://"+w.addr, d.WSS(w.addr))

	c, err := ParseLink(d.Link(w.addr))
	require.NoError(t, err)
	b, err := c.Pair(t.Context(), Request{POSID: "1", Code: w.tap(t)})
	require.NoError(t, err)
	conn, err := c.Dial(t.Context(), b)
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	for _, link := range []string{"", "https://", "http://192.0.2.1", "https://192.0.2.1/x#root=00", "https://192.0.2.1#%zz", "\x7f", "https://192.0.2.1/#root=sha256:00"} {
		_, err := ParseLink(link)
		require.Error(t, err, "%q", link)
	}
	c, err = ParseLink("wss://terminal.test:8443")
	require.NoError(t, err)
	require.Equal(t, &Client{URL: "wss://terminal.test:8443"}, c)
}

func TestClientTimeout(t *testing.T) {
	t.Parallel()
	c := fake(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that we go
		<-r.Context().Done()
	})
	c.Timeout = 200 * time.Millisecond
	_, err := c.Pair(t.Context(), aRequest(t, nil))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
