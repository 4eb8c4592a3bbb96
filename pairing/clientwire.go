// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// A line is one connection to a terminal, for one exchange.
type line struct {
	client *Client
	as     *Bundle // who we are; nil is nobody
	conn   net.Conn
	root   *x509.Certificate // of the terminal
}

// connect performs the handshake and notes the terminal's root.
func (l *line) connect(ctx context.Context, at *url.URL) error {
	p, err := l.client.provider(l.as)
	if err != nil {
		return err
	}
	alias := posAlias
	if l.as == nil {
		alias = ""
	}
	d := l.client.dialer(p, alias, "http/1.1")
	d.NoClientCertificate = l.as == nil
	conn, err := d.DialContext(ctx, "tcp", hostPort(at))
	if err != nil {
		return err
	}
	report, err := hsmtls.Report(conn)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	l.conn, l.root = conn, report.Entry
	return nil
}

func (l *line) close() {
	if l.conn != nil {
		_ = l.conn.Close() // the answer was read or never will be
	}
}

// http returns a client that uses this connection once and follows nobody.
func (l *line) http() *http.Client {
	unused := make(chan net.Conn, 1)
	unused <- l.conn
	t := new(hsmtls.Provider).Transport(nil)
	t.DisableKeepAlives = true
	t.DialTLSContext = func(context.Context, string, string) (net.Conn, error) {
		select {
		case conn := <-unused:
			return conn, nil
		default:
			return nil, errOnce
		}
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// errOnce keeps [http.Transport] from sending a request again on a connection of
// its own: the code may be used up.
var errOnce = fmt.Errorf("%w: connection was closed", ErrResponse)

// post sends one request and returns the body of a good reply. forbidden is
// what status 403 means.
func (l *line) post(ctx context.Context, at *url.URL, body []byte, forbidden error) ([]byte, error) {
	if err := l.connect(ctx, at); err != nil {
		return nil, err
	}
	defer l.close()
	u := *at
	u.Scheme = "https"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", jsonMediaType)
	r.Header.Set("Accept", bundleMedia+", "+jsonMediaType)
	r.GetBody = nil // never sent twice: the code is used up
	resp, err := l.http().Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := readReply(resp.Body)
	if resp.StatusCode == http.StatusOK {
		return text, err
	}
	return nil, statusError(resp, text, forbidden)
}

func readReply(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBundle+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: reply is cut off: %w", ErrResponse, err)
	case len(text) > maxBundle:
		return nil, fmt.Errorf("%w: reply is longer than %d bytes", ErrResponse, maxBundle)
	}
	return text, nil
}

// webSocket sends one message and returns a good answer.
func (l *line) webSocket(ctx context.Context, at *url.URL, body []byte) ([]byte, error) {
	if err := l.connect(ctx, at); err != nil {
		return nil, err
	}
	defer l.close()
	conn, err := l.upgrade(ctx, at)
	if err != nil {
		return nil, err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxBundle)
	if err := conn.Write(ctx, websocket.MessageText, body); err != nil {
		return nil, err
	}
	kind, text, err := conn.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: no answer: %w", ErrResponse, err)
	}
	if refused, ok := parseErrorResponse(text); ok {
		return nil, l.closeError(ctx, conn, refused)
	}
	if kind != websocket.MessageText {
		return nil, fmt.Errorf("%w: answer is no text", ErrResponse)
	}
	_ = conn.Close(websocket.StatusNormalClosure, "") // the answer is complete
	return text, nil
}

// upgrade makes a WebSocket of the connection. FIPS enforcement is off for this
// step, which hashes with SHA-1 to no end of security (RFC 6455 section 1.3).
func (l *line) upgrade(ctx context.Context, at *url.URL) (conn *websocket.Conn, err error) {
	var resp *http.Response
	options := &websocket.DialOptions{HTTPClient: l.http(), CompressionMode: websocket.CompressionDisabled}
	fips140.WithoutEnforcement(func() { conn, resp, err = websocket.Dial(ctx, at.String(), options) })
	if err != nil {
		return nil, upgradeError(resp, err)
	}
	return conn, nil
}

// upgradeError is for a terminal that answers a WebSocket's request without
// upgrading. At most 1024 bytes of the answer can be read.
func upgradeError(resp *http.Response, err error) error {
	if resp == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return err
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxBundle)) // what is there is enough
	return statusError(resp, text, ErrCode)
}

// closeError learns the status of a refusal from the close code.
func (l *line) closeError(ctx context.Context, conn *websocket.Conn, refused ErrorResponse) error {
	e := &StatusError{Response: refused, kind: ErrResponse}
	_, _, err := conn.Read(ctx)
	if code := websocket.CloseStatus(err); code >= closeCodeBase+400 && code < closeCodeBase+600 {
		e.Status = int(code) - closeCodeBase
		e.kind = kindOf(e.Status, ErrCode)
	}
	return e
}

func statusError(resp *http.Response, text []byte, forbidden error) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return ErrRedirect
	}
	e := &StatusError{Status: resp.StatusCode, kind: ErrResponse}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = min(time.Duration(min(seconds, 1<<20))*time.Second, maxRetryHeader)
	}
	if refused, ok := parseErrorResponse(text); ok && e.Status >= 400 {
		e.Response, e.kind = refused, kindOf(e.Status, forbidden)
	}
	return e
}

func kindOf(status int, forbidden error) error {
	switch status {
	case http.StatusForbidden:
		return forbidden
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return ErrBusy
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestTimeout, http.StatusMethodNotAllowed:
		return ErrRequest
	}
	return nil
}

func parseErrorResponse(text []byte) (ErrorResponse, bool) {
	var e ErrorResponse
	err := json.Unmarshal(text, &e)
	return e, err == nil && e.Type == errorType
}

// bundle checks that a reply is what was asked for.
func (l *line) bundle(reply []byte, r Request) (*Bundle, error) {
	b, err := ParseBundle(reply)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrResponse, err)
	}
	switch {
	case r.Key == nil && b.Key == nil:
		return nil, fmt.Errorf("%w: no private key", ErrResponse)
	case r.Key != nil && b.Key != nil:
		return nil, fmt.Errorf("%w: a private key nobody asked for", ErrResponse)
	case r.Key != nil && !samePublicKey(b.Chain[0].PublicKey, r.Key.Public()):
		return nil, fmt.Errorf("%w: certificate is for another key", ErrResponse)
	case b.POSID() != "" && b.POSID() != r.POSID:
		return nil, fmt.Errorf("%w: certificate is for another POS", ErrResponse)
	}
	if r.Key != nil {
		b.Key = r.Key
	}
	b.Root = l.root
	return b, nil
}
