// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// An operated is a command without the command line: a token that fails when it is
// told to, a listener, and the admin listener of both.
type operated struct {
	*faultp11.Module
	running
	root  *testpki.CA
	ops   *operations
	base  string // of the admin listener
	peers string // where clients come

	sessions tls.ClientSessionCache // of clients; nil for none
}

// newOperated presents a certificate that ends when it is said to.
func newOperated(t *testing.T, notBefore, notAfter time.Time) *operated {
	t.Helper()
	o := &operated{Module: faultp11.New(t), root: testpki.NewRoot("Acquirer Root")}
	cfg := o.Config(t)
	cfg.Hold = -1
	o.token = hsmtest.Open(t, cfg)
	o.keys, o.alias, o.command = keystore.New(o.token), "server_pub", "serve"
	template := testpki.ServerTemplate("t-0042.example")
	template.NotBefore, template.NotAfter = notBefore, notAfter
	then := keystore.New(o.token)
	then.Now = func() time.Time { return notBefore }
	key, err := then.Generate(t.Context(), "terminal", keystore.P256)
	require.NoError(t, err)
	require.NoError(t, then.Inject(t.Context(), o.alias, "terminal", []*x509.Certificate{o.root.Issue(template, key.Public())}))
	o.trust, err = truststore.Open(t.Context(), o.token, truststore.Config{Anchors: truststore.Anchors{Acquirer: []*x509.Certificate{o.root.Certificate}}})
	require.NoError(t, err)
	o.provider = &hsmtls.Provider{Keys: o.keys, Trust: o.trust}
	o.operate(t)
	return o
}

// operate does what the commands do.
func (o *operated) operate(t *testing.T) {
	t.Helper()
	o.ops = &operations{app: &app{stdout: io.Discard, stderr: io.Discard}, adminAddress: "127.0.0.1:0"}
	require.NoError(t, o.ops.check())
	o.ops.observe(o.provider)
	o.say = func(address string) { o.base = address }
	ctx, cancel := context.WithCancel(t.Context())
	stop, err := o.ops.start(ctx, o.running)
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		stop()
	})
	ln, err := o.provider.Listen(ctx, "tcp", "127.0.0.1:0", o.alias)
	require.NoError(t, err)
	o.peers = ln.Addr().String()
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveHandshakes(ln)
	}()
	t.Cleanup(func() {
		ln.Close()
		<-served
	})
	o.ops.enter(ready)
}

// serveHandshakes lets clients in, one after the other, and out again.
func serveHandshakes(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_ = conn.(*tls.Conn).Handshake()
		conn.Close()
	}
}

// get returns the status and the body of an answer.
func (o *operated) get(t *testing.T, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.base+path, nil)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: transport}).Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

// dial tries to get in.
func (o *operated) dial(t *testing.T, own tls.Certificate) error {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(o.root.Certificate)
	conn, err := tls.Dial("tcp", o.peers, &tls.Config{
		RootCAs: roots, ServerName: "t-0042.example", Certificates: []tls.Certificate{own}, MaxVersion: tls.VersionTLS12, ClientSessionCache: o.sessions,
	})
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	return err
}

// waits asks for a page until it has the text.
func (o *operated) waits(t *testing.T, path, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, body := o.get(t, path)
		return strings.Contains(body, text)
	}, time.Minute, 20*time.Millisecond, text)
}

// health decodes /healthz: the failing checks by name.
func (o *operated) health(t *testing.T) (code int, failing map[string]string) {
	t.Helper()
	code, body := o.get(t, "/healthz")
	var h health
	require.NoError(t, json.Unmarshal([]byte(body), &h))
	require.Len(t, h.Checks, 3)
	failing = make(map[string]string)
	for _, c := range h.Checks {
		if !c.OK {
			failing[c.Check] = c.Detail
		}
	}
	require.Equal(t, len(failing) == 0, h.ok())
	return code, failing
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	now := time.Now()
	o := newOperated(t, now.Add(-time.Hour), now.Add(20*24*time.Hour))
	code, failing := o.health(t)
	require.Equal(t, http.StatusOK, code, failing)

	_, err := o.trust.Inject(t.Context(), "till", testCertificate(o.root, "till.example", now.Add(time.Hour)))
	require.NoError(t, err)
	require.Error(t, o.dial(t, o.root.Client("stranger.example")))
	o.waits(t, "/metrics", `hsmtls_handshakes_total{outcome="refused",reason="not_trusted",role="server"} 1`)
	_, scraped := o.get(t, "/metrics")
	lint(t, scraped)
	require.Contains(t, scraped, `hsmtls_signature_duration_seconds_count{alias="server_pub",result="ok"}`)
	require.Contains(t, scraped, "hsmtls_trust_entries 1\n")

	require.NoError(t, o.trust.Deny(t.Context(), o.root.Certificate, "test"))
	o.waits(t, "/metrics", `hsmtls_trust_rejected_entries{reason="revoked"} 1`)
	o.waits(t, "/metrics", "hsmtls_trust_denied_certificates 1\n")
	_, text := o.get(t, "/status")
	var s commandStatus
	require.NoError(t, json.Unmarshal([]byte(text), &s))
	require.Equal(t, "serve", s.Command)
	require.Equal(t, "server_pub", s.Certificates[0].Alias)
	require.Len(t, s.Unfinished, 1)
	require.Equal(t, "not_trusted", s.Unfinished[0].Reason)
	require.Len(t, s.Trust.Rejected, 1)
	require.NotContains(t, text, hsmtest.PIN)
	_, page := o.get(t, "/")
	require.Contains(t, page, "CN=till.example")
	require.Contains(t, page, "19 days")
}

func testCertificate(ca *testpki.CA, name string, notAfter time.Time) *x509.Certificate {
	template := testpki.ClientTemplate(name)
	template.NotAfter = notAfter
	return ca.Issue(template, ca.NewIntermediate("another key").Key.Public())
}

// TestAdminOutage pulls the token out and puts it back.
func TestAdminOutage(t *testing.T) {
	t.Parallel()
	now := time.Now()
	o := newOperated(t, now.Add(-time.Hour), now.Add(time.Hour))
	o.Remove()
	require.Error(t, o.dial(t, o.root.Client("till.example")))
	o.waits(t, "/metrics", `hsmtls_token_state{state="recovering"} 1`)
	code, failing := o.health(t)
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, failing["token"], "recovering: ")
	require.Len(t, failing, 1)
	_, scraped := o.get(t, "/metrics")
	require.Contains(t, scraped, `hsmtls_token_errors_total{code="CKR_`)
	require.Contains(t, scraped, "hsmtls_token_outages_total 1\n")
	_, page := o.get(t, "/")
	require.Contains(t, page, "<h2>Failing</h2>")

	o.Insert()
	require.Eventually(t, func() bool { return o.token.Status().State == hsm.Ready }, time.Minute, 20*time.Millisecond)
	code, failing = o.health(t)
	require.Equal(t, http.StatusOK, code, failing)
}

// TestAdminUnhealthy is about reasons other than the token.
func TestAdminUnhealthy(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, until := range map[string]time.Time{"expired": now.Add(-time.Minute), "good": now.Add(time.Hour)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOperated(t, now.Add(-2*time.Hour), until)
			code, failing := o.health(t)
			if name == "expired" {
				require.Equal(t, http.StatusServiceUnavailable, code)
				require.Contains(t, failing["certificate"], "expired on ")
				return
			}
			require.Equal(t, http.StatusOK, code)
			require.NoError(t, o.keys.DeleteCertificate(t.Context(), o.alias))
			code, body := o.get(t, "/healthz")
			require.Equal(t, http.StatusOK, code, "what is presented is still good")
			require.Contains(t, body, "cannot be read again")
			o.ops.enter(stopping)
			o.ops.enter(reloading) // while connections drain
			o.ops.enter(ready)
			code, failing = o.health(t)
			require.Equal(t, http.StatusServiceUnavailable, code)
			require.Equal(t, map[string]string{"running": "stopping"}, failing)
		})
	}
}
