// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// ask calls the handler directly, as a client with these certificates.
func ask(h http.Handler, method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://terminal.test"+path, strings.NewReader(body))
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func from(source string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = source }
}

func as(cert *x509.Certificate) func(*http.Request) {
	return func(r *http.Request) { r.TLS.PeerCertificates = []*x509.Certificate{cert} }
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func body(posID string, code Code) string {
	return fmt.Sprintf(`{"posId":%q,"setupCode":%q}`, posID, code.Reveal())
}

// requireRefusal checks status and form of an answer.
func requireRefusal(t testing.TB, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	var members map[string]string
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &members))
	require.Len(t, members, 3)
	require.Equal(t, "ErrorResponse", members["type"])
	require.NotEmpty(t, members["message"])
	require.NotEmpty(t, members["developerDescription"])
}

func TestGoodReply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	reply := ask(w, "POST", "/", body("123", w.tap(t)))
	require.Equal(t, http.StatusOK, reply.Code)
	require.Equal(t, "application/x-pem-file", reply.Header().Get("Content-Type"))
	require.Equal(t, "no-store", reply.Header().Get("Cache-Control"))
	require.Equal(t, fmt.Sprint(reply.Body.Len()), reply.Header().Get("Content-Length"))
	b, err := ParseBundle(reply.Body.Bytes())
	require.NoError(t, err)
	require.True(t, posKey1().Equal(b.Key))
	require.Equal(t, w.Issuer.Chain, b.Chain[1:])
}

func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHandler)
	code := w.tap(t)
	plain := func(r *http.Request) { r.TLS = nil }
	old := func(r *http.Request) { r.TLS.Version = tls.VersionTLS11 }
	for name, test := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		status             int
	}{
		"GET":                 {"GET", "/", "", nil, 403},
		"HEAD of something":   {"HEAD", "/x", "", nil, 403},
		"OPTIONS":             {"OPTIONS", "/", "", nil, 403},
		"PUT":                 {"PUT", "/", body("1", code), nil, 403},
		"other path":          {"POST", "/pair", body("1", code), nil, 403},
		"renewal":             {"POST", RenewPath, `{"csr":""}`, nil, 403},
		"WebSocket elsewhere": {"GET", "/x", "", header("Upgrade", "websocket"), 403},
		"plaintext":           {"POST", "/", body("1", code), plain, 403},
		"TLS 1.1":             {"POST", "/", body("1", code), old, 403},
		"web page":            {"POST", "/", body("1", code), header("Origin", "https://evil.test"), 403},
		"file":                {"POST", "/", body("1", code), header("Origin", "null"), 403},
		"web page, wss": {"GET", "/", "", func(r *http.Request) {
			r.Header.Set("Upgrade", "websocket")
			r.Header.Set("Origin", "https://evil.test")
		}, 403},
		"unknown certificate": {"POST", "/", body("1", code), as(w.pki.Client("1").Leaf), 403},
		"no JSON":             {"POST", "/", "posId=1", nil, 400},
		"no POS id":           {"POST", "/", body("", code), nil, 400},
		"no code":             {"POST", "/", `{"posId":"1","setupCode":""}`, nil, 400},
		"bad csr":             {"POST", "/", `{"posId":"1","setupCode":"00000000","csr":"x"}`, nil, 400},
		"wrong code":          {"POST", "/", body("1", otherCode(t, code)), nil, 403},
		"long":                {"POST", "/", strings.Repeat(" ", maxRequest+1), nil, 413},
	} {
		t.Run(name, func(t *testing.T) {
			change := []func(*http.Request){from("192.0.2.1:1")}
			if test.change != nil {
				change = append(change, test.change)
			}
			reply := ask(w, test.method, test.path, test.body, change...)
			requireRefusal(t, reply, test.status)
			require.NotContains(t, reply.Body.String(), code.Reveal())
		})
	}
	require.Empty(t, w.List())
	require.Equal(t, code, w.State().Code, "only the wrong code counts")
	require.Equal(t, 1, w.State().Wrong)
	require.Equal(t, http.StatusOK, ask(w, "POST", "/", body("1", code), header("Origin", "https://terminal.test")).Code)
}

func TestIncompleteTerminal(t *testing.T) {
	t.Parallel()
	for name, terminal := range map[string]*Terminal{
		"zero":        {},
		"no registry": {Issuer: newIssuer(t)},
		"no issuer":   {Registry: new(memory)},
	} {
		requireRefusal(t, ask(terminal, "POST", "/", ""), http.StatusInternalServerError)
		require.ErrorIs(t, terminal.GenerateCode(), ErrIncomplete, name)
		if terminal.Registry == nil { // which is all that it needs
			require.ErrorIs(t, terminal.Revoke(t.Context(), "1"), ErrIncomplete, name)
		}
		require.NoError(t, terminal.Close())
	}
	w := newWorld(t)
	for name, change := range map[string]func(*Terminal){
		"no provider": func(t *Terminal) { t.Provider = nil },
		"no trust":    func(x *Terminal) { x.Provider = &hsmtls.Provider{Keys: memoryKeys{}} },
		"no keys":     func(x *Terminal) { x.Provider = &hsmtls.Provider{Trust: w.registry} },
	} {
		x := &Terminal{Issuer: w.Issuer, Registry: w.registry, Provider: w.Provider, Alias: w.Alias}
		change(x)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.ErrorIs(t, x.Serve(t.Context(), ln), ErrIncomplete, name)
		_, err = ln.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, x.Close())
	}
}

func TestGenerateCodeFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(t *Terminal) { t.Now = func() time.Time { return time.Now().Add(-100 * 365 * 24 * time.Hour) } })
	require.ErrorIs(t, w.GenerateCode(), ErrIssuer, "the clock of the terminal is not set")
	require.Equal(t, PhaseIdle, w.State().Phase)
	require.NoError(t, w.Close())
	require.ErrorIs(t, newWorldClosed(t).GenerateCode(), ErrClosed)
}

func newWorldClosed(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	require.NoError(t, w.Close())
	return w
}

func TestPairedPOSReachesTheHandler(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	reply := ask(w, "POST", "/", body("till 4", w.tap(t)))
	b, err := ParseBundle(reply.Body.Bytes())
	require.NoError(t, err)
	requireRefusal(t, ask(w, "GET", "/anything", "", as(b.Chain[0])), http.StatusNotFound)

	w2 := &Terminal{Issuer: w.Issuer, Registry: w.registry, Handler: whoami}
	reply = ask(w2, "DELETE", "/anything", "", as(b.Chain[0]))
	require.Equal(t, "till 4", reply.Body.String())
	require.NoError(t, w2.Close())
	_, ok := POSFrom(t.Context())
	require.False(t, ok)
}

// TestGuessing tries a hundred thousand codes from many sources. None is right,
// all cost no signature, and the operator can always make a code that works.
func TestGuessing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signatures := new(countingSigner)
	signatures.Signer, w.Issuer.Key = w.Issuer.Key, signatures
	w.tap(t)
	taps, guesses := 1, 100_000
	for n := range guesses {
		if w.State().Phase == PhaseBlocked {
			w.tap(t)
			taps++
		}
		guess := otherCode(t, w.State().Code) // a random one would be right once in 10^12 times
		source := fmt.Sprintf("10.%d.%d.%d:4000", n>>16&255, n>>8&255, n&255)
		reply := ask(w, "POST", "/", body("1", guess), from(source))
		if reply.Code != http.StatusForbidden {
			t.Fatalf("guess %d: status %d", n, reply.Code)
		}
	}
	require.Equal(t, guesses/(triesPerCode*burntInARow), taps, "fifty guesses for each tap")
	require.Empty(t, w.List())
	require.Zero(t, signatures.n)
	require.LessOrEqual(t, len(w.state().limiter.buckets), rateSources)

	reply := ask(w, "POST", "/", body("1", w.tap(t)))
	require.Equal(t, http.StatusOK, reply.Code)
	require.Equal(t, 1, signatures.n)
}

// TestOneSourceIsLimited, and the others are not.
func TestOneSourceIsLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		limited := 0
		for range 3 * rateBurst {
			reply := ask(w, "POST", "/", body("1", newCode()), from("[2001:db8::1]:99"))
			if reply.Code == http.StatusTooManyRequests {
				requireRefusal(t, reply, http.StatusTooManyRequests)
				require.Equal(t, "1", reply.Header().Get("Retry-After"))
				limited++
			}
		}
		require.Equal(t, 2*rateBurst, limited)
		require.Equal(t, http.StatusTooManyRequests, ask(w, "POST", "/", "", from("[2001:db8::2]:99")).Code, "the same /64")
		require.Equal(t, http.StatusOK, ask(w, "POST", "/", body("1", w.tap(t)), from("[2001:db8:0:1::1]:99")).Code)
	})
}

func TestTwoPOSOneCode(t *testing.T) {
	t.Parallel()
	for range 20 {
		w := newWorld(t)
		text := func(id string, code Code) string { return body(id, code) }
		code := w.tap(t)
		const n = 8
		status := make([]int, n)
		var running sync.WaitGroup
		for i := range n {
			running.Go(func() { status[i] = ask(w, "POST", "/", text(fmt.Sprint(i), code)).Code })
		}
		running.Wait()
		good := 0
		for _, s := range status {
			switch s {
			case http.StatusOK:
				good++
			default:
				require.Contains(t, []int{http.StatusConflict, http.StatusForbidden}, s)
			}
		}
		require.Equal(t, 1, good, "%v", status)
		require.Len(t, w.List(), 1)
		require.Equal(t, 0, w.State().Burnt)
	}
}

// TestSlowRequest sends a body that never ends.
func TestSlowRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, body := io.Pipe()
	defer body.Close()
	request := httptest.NewRequest("POST", "https://terminal.test/", r)
	recorder := &slowWriter{ResponseRecorder: httptest.NewRecorder(), body: body}
	_, err := readBody(recorder, request)
	require.ErrorIs(t, err, refuseSlow)
	requireRefusal(t, func() *httptest.ResponseRecorder { refuseSlow.write(recorder); return recorder.ResponseRecorder }(), http.StatusRequestTimeout)
	require.NoError(t, w.Close())
}
