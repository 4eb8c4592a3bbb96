// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// A Client is a POS. It pairs with one terminal, and connects to it afterwards.
// Its fields must not be changed while it is in use; it is then safe for
// concurrent use.
type Client struct {
	// URL is the terminal's, as its screen has it: https://HOST:PORT or
	// wss://HOST:PORT. Required.
	URL string
	// Root is what the terminal's certificate must come from. Required.
	Root Root
	// Name is the device name the certificate must carry. Empty means the host
	// of URL, which for an IP address seldom is in a certificate.
	Name string
	// Policy relaxes the TLS policy by name. Zero relaxes nothing.
	Policy hsmtls.Policy
	// Timeout bounds one exchange, connecting included. Zero means 45 seconds.
	Timeout time.Duration
	// NetDial opens network connections. Nil means a [net.Dialer].
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Now is the clock for certificates. Nil means [time.Now].
	Now func() time.Time
}

// ParseLink returns the client of a terminal whose QR code says link; see
// [Details].Link. Errors are [ErrRequest] and [ErrRoot].
func ParseLink(link string) (*Client, error) {
	u, err := url.Parse(link)
	if err != nil {
		return nil, fmt.Errorf("%w: link cannot be read", ErrRequest)
	}
	q, err := url.ParseQuery(u.EscapedFragment())
	if err != nil {
		return nil, fmt.Errorf("%w: link cannot be read", ErrRequest)
	}
	c := &Client{Name: q.Get("name")}
	u.Fragment, u.RawFragment = "", ""
	c.URL = u.String()
	if pin := q.Get("root"); pin != "" {
		if c.Root, err = ParseFingerprint(pin); err != nil {
			return nil, err
		}
	}
	_, err = c.target()
	return c, err
}

// A Request is what a POS needs to pair.
type Request struct {
	// POSID is the id of the POS, unique at the terminal: 1 to 64 printable
	// characters. Required.
	POSID string
	// Code is the code on the terminal's screen. Required.
	Code Code
	// Key is a key of the POS's own to be certified, wherever it is kept. Nil
	// means that the terminal makes one and sends it.
	Key crypto.Signer
}

// Pair asks the terminal for a certificate. A code can be used once, whatever
// comes of it.
//
// Errors: [ErrIncomplete], [ErrPOSID], [ErrCode] and [ErrRequest] before anything
// is sent; those of [hsmtls.Dialer] for a terminal that cannot be reached or is
// not the right one, with [ErrRoot] for an unknown root; [*StatusError] for a
// refusal, [ErrRedirect], and [ErrResponse] for anything else that is no bundle
// for this request.
func (c *Client) Pair(ctx context.Context, r Request) (*Bundle, error) {
	body, err := r.encode()
	if err != nil {
		return nil, err
	}
	at, err := c.target()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	line := &line{client: c}
	var reply []byte
	if at.Scheme == "wss" {
		reply, err = line.webSocket(ctx, at, body)
	} else {
		reply, err = line.post(ctx, at, body, ErrCode)
	}
	if err != nil {
		return nil, err
	}
	defer clear(reply)
	return line.bundle(reply, r)
}

// encode checks a request and returns its JSON.
func (r Request) encode() ([]byte, error) {
	if err := CheckPOSID(r.POSID); err != nil {
		return nil, err
	}
	if r.Code.IsZero() {
		return nil, ErrCode
	}
	wire := struct {
		POSID     string `json:"posId"`
		SetupCode string `json:"setupCode"`
		CSR       string `json:"csr,omitempty"`
	}{r.POSID, r.Code.Reveal(), ""}
	if r.Key != nil {
		var err error
		if wire.CSR, err = certificateRequest(r.Key); err != nil {
			return nil, err
		}
	}
	return json.Marshal(wire)
}

// certificateRequest has no subject: the terminal decides what a certificate
// says.
func certificateRequest(key crypto.Signer) (string, error) {
	if err := checkPublicKey(key.Public()); err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return "", fmt.Errorf("pairing: sign certificate request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// Renew asks for another certificate with the present one, before that expires.
// key is the key to be certified, nil means the present one. The present
// certificate stays good until the other is used. Errors are those of Pair, with
// [ErrNotPaired] in place of [ErrCode].
func (c *Client) Renew(ctx context.Context, b *Bundle, key crypto.Signer) (*Bundle, error) {
	if key == nil {
		key = b.Key
	}
	if key == nil {
		return nil, fmt.Errorf("%w: bundle has no key", ErrIncomplete)
	}
	csr, err := certificateRequest(key)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{"csr": csr})
	if err != nil {
		return nil, err
	}
	at, err := c.target()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	line := &line{client: c, as: b}
	at.Path = RenewPath
	reply, err := line.post(ctx, at, body, ErrNotPaired)
	if err != nil {
		return nil, err
	}
	return line.bundle(reply, Request{POSID: b.POSID(), Key: key})
}

// Transport returns a transport for requests to the terminal as the POS that b
// is for. It takes https URLs only, and is also right for WebSocket libraries
// that take an [http.Client]. Whatever the host of a URL is, the server must be
// the terminal. Errors: [ErrIncomplete].
func (c *Client) Transport(b *Bundle) (*http.Transport, error) {
	if _, err := c.target(); err != nil {
		return nil, err
	}
	p, err := c.provider(b)
	if err != nil {
		return nil, err
	}
	t := p.Transport(hsmtls.Alias(posAlias))
	t.DialTLSContext = c.dialer(p, posAlias, "http/1.1").DialContext
	return t, nil
}

// Dial connects to the terminal as the POS that b is for. Errors are
// [ErrIncomplete] and those of [hsmtls.Dialer].
func (c *Client) Dial(ctx context.Context, b *Bundle) (net.Conn, error) {
	at, err := c.target()
	if err != nil {
		return nil, err
	}
	p, err := c.provider(b)
	if err != nil {
		return nil, err
	}
	return c.dialer(p, posAlias).DialContext(ctx, "tcp", hostPort(at))
}

// dialer verifies the terminal by its device name, whatever address is dialled.
func (c *Client) dialer(p *hsmtls.Provider, alias string, protos ...string) *hsmtls.Dialer {
	d := &hsmtls.Dialer{Provider: p, Alias: alias, ServerName: c.Name, NextProtos: protos, NetDial: c.NetDial}
	if at, err := c.target(); err == nil && d.ServerName == "" {
		d.ServerName = at.Hostname()
	}
	return d
}

// target returns the URL, which names a host and nothing else.
func (c *Client) target() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: URL cannot be read", ErrRequest)
	case !slices.Contains([]string{"https", "wss"}, u.Scheme) || u.Hostname() == "":
		return nil, fmt.Errorf("%w: URL must be https://HOST:PORT or wss://HOST:PORT", ErrRequest)
	case u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%w: URL must have nothing after the port", ErrRequest)
	}
	u.Path = "/"
	return u, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (c *Client) timeout() time.Duration {
	if c.Timeout == 0 {
		return 45 * time.Second // longer than the terminal's own patience
	}
	return c.Timeout
}
