// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package est asks a CA for certificates by Enrollment over Secure Transport
// (RFC 7030, RFC 8951).
//
// A [Client] speaks through an [http.Client] that it is given, which decides whom
// to trust and which certificate to present: that of hsmtls.Provider.Transport for
// one that has a certificate, that of hsmtls.Provider.AnonymousTransport for one
// that has none yet and shows a password instead. What a server answers is trusted
// for nothing and installed nowhere: it comes from whom the transport has accepted,
// and it is the caller's to check, as keystore.Store.Renew does.
//
//	client := &est.Client{URL: "https://est.example", HTTP: &http.Client{Transport: p.Transport(hsmtls.Alias("terminal_pub"))}}
//	renewed, err := keys.Renew(ctx, "terminal_pub", keystore.Renewal{}, client.SimpleReenroll)
//
// Full CMC and keys made by the server (RFC 7030 sections 4.3 and 4.4) are left
// out: keys are made in the token.
package est

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// A Client asks one EST server. It is safe for concurrent use once its fields are
// set. The zero Client asks nobody.
type Client struct {
	// URL is the server, https with host and port and no path, such as
	// "https://est.example:8443". Required.
	URL string

	// HTTP carries the requests. Required; nil does not mean the default client,
	// which trusts the host's roots and presents no certificate. Its redirects are
	// not followed. Bound the time of a call by its context.
	HTTP *http.Client

	// Label chooses one of several CAs behind the server (RFC 7030 section
	// 3.2.2). Empty means the server's choice.
	Label string

	// Login returns the user name and the password for HTTP Basic authentication
	// (RFC 7030 section 3.2.3), which are sent with every request and only to a
	// server that HTTP has accepted. Nil means that there are none.
	Login func(context.Context) (user, password string, err error)

	// Wait is how long in all a call may wait for a CA that wants to be asked again
	// later. Zero means not at all: the call returns a [*PendingError] at once, as
	// it does when Wait is over.
	Wait time.Duration

	// MaxAnswer bounds the body of an answer, in bytes. Zero means 1 MiB.
	MaxAnswer int64

	sleep func(context.Context, time.Duration) error // nil is the clock's
}

const defaultMaxAnswer = 1 << 20

// CACerts returns the certificates of the CA: its own, its issuers, and those of a
// change of keys (RFC 7030 section 4.1), in the order of the answer. They are
// there to be looked at. Whoever wants to trust one of them puts it where trust is
// kept, after having compared it with what was known before.
func (c *Client) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	a, err := c.get(ctx, "cacerts")
	if err != nil {
		return nil, err
	}
	return a.certificates(false)
}

// SimpleEnroll has a request (PKCS #10 in DER) answered with a first certificate
// (RFC 7030 section 4.2.1). The result is the certificate, which is for the public
// key of the request, and its issuers as far as the answer has them, each signed
// by the next. [ErrRequest] is about csr, and nothing was sent.
func (c *Client) SimpleEnroll(ctx context.Context, csr []byte) ([]*x509.Certificate, error) {
	return c.enroll(ctx, "simpleenroll", csr)
}

// SimpleReenroll is SimpleEnroll for a certificate that takes the place of the one
// that HTTP presents (RFC 7030 section 4.2.2). The request has to have its subject
// and its names. The method fits keystore.Store.Renew.
func (c *Client) SimpleReenroll(ctx context.Context, csr []byte) ([]*x509.Certificate, error) {
	return c.enroll(ctx, "simplereenroll", csr)
}

func (c *Client) enroll(ctx context.Context, operation string, csr []byte) ([]*x509.Certificate, error) {
	request, err := x509.ParseCertificateRequest(csr)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	a, err := c.patiently(ctx, func() (*answer, error) { return c.post(ctx, operation, csr) })
	if err != nil {
		return nil, err
	}
	found, err := a.certificates(true)
	if err != nil {
		return nil, err
	}
	return chainFor(request, found)
}

// patiently asks again as often and as late as the server wants, within Wait.
func (c *Client) patiently(ctx context.Context, ask func() (*answer, error)) (*answer, error) {
	for left := c.Wait; ; {
		a, err := ask()
		var pending *PendingError
		if !errors.As(err, &pending) {
			return a, err
		}
		pause := max(pending.RetryAfter, time.Second)
		if pause > left {
			return nil, err
		}
		left -= pause
		if err := c.pause(ctx, pause); err != nil {
			return nil, fmt.Errorf("%w; %w", pending, err)
		}
	}
}

func (c *Client) pause(ctx context.Context, d time.Duration) error {
	if c.sleep != nil {
		return c.sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
