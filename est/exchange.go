// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package est

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	wellKnown   = "/.well-known/est/" // RFC 7030 section 3.2.2
	typePKCS10  = "application/pkcs10"
	typePKCS7   = "application/pkcs7-mime"
	typeCSRAttr = "application/csrattrs"

	maxText = 1 << 10
)

// An answer is a response that was read.
type answer struct {
	operation string
	header    http.Header
	code      int
	body      []byte
}

func (c *Client) get(ctx context.Context, operation string) (*answer, error) {
	return c.do(ctx, http.MethodGet, operation, nil)
}

func (c *Client) post(ctx context.Context, operation string, der []byte) (*answer, error) {
	return c.do(ctx, http.MethodPost, operation, encode(der))
}

// do makes one request. Every status but 200 is an error, which counts more than what
// is wrong with the body.
func (c *Client) do(ctx context.Context, method, operation string, body []byte) (*answer, error) {
	request, err := c.request(ctx, method, operation, body)
	if err != nil {
		return nil, err
	}
	client := *c.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("est: %w", err)
	}
	defer response.Body.Close()
	a := &answer{operation: operation, header: response.Header, code: response.StatusCode}
	a.body, err = c.readBody(response.Body)
	return a, cmp.Or(a.status(), err)
}

func (c *Client) request(ctx context.Context, method, operation string, body []byte) (*http.Request, error) {
	address, err := c.address(operation)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", typePKCS10)
		request.Header.Set("Content-Transfer-Encoding", "base64")
	}
	if c.Login == nil {
		return request, nil
	}
	user, password, err := c.Login(ctx)
	if err != nil {
		return nil, fmt.Errorf("est: login: %w", err)
	}
	if strings.Contains(user, ":") { // what follows would be read as the password
		return nil, fmt.Errorf("%w: a user name with a colon (RFC 7617 section 2)", ErrIncomplete)
	}
	request.SetBasicAuth(user, password)
	return request, nil
}

// address is where an operation is asked for. A password in the URL would end in
// logs, so none is taken.
func (c *Client) address(operation string) (string, error) {
	if c == nil || c.HTTP == nil {
		return "", fmt.Errorf("%w: no HTTP client", ErrIncomplete)
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
		return "", fmt.Errorf("%w: the URL has to be https with a host and nothing else", ErrIncomplete)
	}
	path := wellKnown
	if c.Label != "" {
		if !isLabel(c.Label) {
			return "", fmt.Errorf("%w: label %q", ErrIncomplete, c.Label)
		}
		path += c.Label + "/"
	}
	return "https://" + u.Host + path + operation, nil
}

// operations may not be labels (RFC 7030 section 3.2.2).
var operations = []string{"cacerts", "simpleenroll", "simplereenroll", "fullcmc", "serverkeygen", "csrattrs"}

// isLabel allows what needs no escaping in a path (RFC 3986 section 2.3).
func isLabel(s string) bool {
	unreserved := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._~", r)
	}
	return len(s) <= 128 && strings.Trim(s, ".") != "" && !slices.Contains(operations, s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unreserved(r) })
}

// readBody returns what it has read also with an error.
func (c *Client) readBody(r io.Reader) ([]byte, error) {
	limit := c.MaxAnswer
	if limit <= 0 {
		limit = defaultMaxAnswer
	}
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return body, fmt.Errorf("est: %w", err)
	}
	if int64(len(body)) > limit {
		return body, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return body, nil
}

func (a *answer) status() error {
	switch a.code {
	case http.StatusOK:
		return nil
	case http.StatusAccepted:
		return &PendingError{RetryAfter: retryAfter(a.header.Get("Retry-After"), time.Now())}
	}
	e := &StatusError{Operation: a.operation, Code: a.code}
	if kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); kind == "text/plain" {
		e.Text = strings.ToValidUTF8(string(a.body[:min(len(a.body), maxText)]), "")
	}
	return e
}

// retryAfter reads the header field of RFC 9110 section 10.2.3, seconds or a date.
func retryAfter(field string, now time.Time) time.Duration {
	const longest = 10 * 365 * 24 * time.Hour
	if seconds, err := strconv.ParseUint(field, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longest)
	}
	at, err := http.ParseTime(field)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), longest)
}

// payload returns the body of an answer of that type. It is always base64,
// whatever the header says of it (RFC 8951 section 3.1).
func (a *answer) payload(kind string) ([]byte, map[string]string, error) {
	got, parameters, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || got != kind {
		return nil, nil, fmt.Errorf("%w: content type %.100q, want %s", ErrAnswer, a.header.Get("Content-Type"), kind)
	}
	der, err := decode(a.body)
	return der, parameters, err
}

// encode is base64 in lines, as in RFC 2045 section 6.8.
func encode(der []byte) []byte {
	const width = 76
	text := base64.StdEncoding.AppendEncode(nil, der)
	lines := slices.Collect(slices.Chunk(text, width))
	return append(bytes.Join(lines, []byte("\r\n")), "\r\n"...)
}

// decode leaves out white space and nothing else.
func decode(text []byte) ([]byte, error) {
	packed := bytes.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, text)
	der, err := base64.StdEncoding.Strict().AppendDecode(nil, packed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return der, nil
}
