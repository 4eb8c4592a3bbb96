// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	requestTime  = 10 * time.Second // for a whole request to arrive
	deliveryTime = 10 * time.Second // for a reply to leave
)

// RenewPath is where a paired POS posts {"csr":"<PEM>"} to get a certificate that
// follows its present one.
const RenewPath = "/.well-known/hsmtls/renew"

// ServeHTTP pairs a client without certificate, and passes the requests of a
// paired POS to Handler. Everything else is refused with an [ErrorResponse]. A
// request that did not come over TLS 1.2 or better is refused. It believes
// [http.Request].TLS: whoever serves it must have had the certificate verified.
func (t *Terminal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case t.check() != nil:
		refuseIncomplete.write(w)
	case r.TLS == nil || r.TLS.Version < tls.VersionTLS12:
		refusePlaintext.write(w)
	case len(r.TLS.PeerCertificates) > 0:
		t.servePOS(w, r)
	default:
		t.serveStranger(w, r)
	}
}

// servePOS answers a client with a certificate. The connection is marked before
// the list is asked, so that a revocation in between closes it.
func (t *Terminal) servePOS(w http.ResponseWriter, r *http.Request) {
	cert := r.TLS.PeerCertificates[0]
	id, _ := POSID(cert)
	p := POS{id, cert}
	marked := t.state().live.mark(connFrom(r.Context()), p)
	_, listed := t.find(cert)
	switch {
	case !listed:
		w.Header().Set("Connection", "close")
		refuseStranger.write(w)
		return
	case !marked:
		w.Header().Set("Connection", "close")
		refuseCrowd.write(w)
		return
	}
	t.used(r.Context(), p)
	r = r.WithContext(context.WithValue(r.Context(), posKey{}, p))
	switch {
	case r.URL.Path == RenewPath:
		t.renew(w, r, p)
	case t.Handler == nil:
		refuseNothing.write(w)
	default:
		t.Handler.ServeHTTP(w, r)
	}
}

// serveStranger answers a client without certificate, once per connection. The
// server waits for a body that nobody has read before it closes the connection, but
// not for longer than a request may take.
func (t *Terminal) serveStranger(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTime)) // not supported by a recorder
	if wait, ok := t.state().limiter.allow(sourceOf(r.RemoteAddr)); !ok {
		t.log().Debug("request refused", slog.String("source", r.RemoteAddr), slog.String("reason", "rate"))
		w.Header().Set("Connection", "close")
		refuseRate(wait).write(w)
		return
	}
	switch {
	case r.URL.Path == "/" && !sameOrigin(r):
		w.Header().Set("Connection", "close")
		refuseOrigin.write(w)
	case r.URL.Path == "/" && r.Method == http.MethodPost:
		w.Header().Set("Connection", "close")
		t.pairHTTP(w, r)
	case r.URL.Path == "/" && isUpgrade(r):
		w.Header().Set("Connection", "close") // unless it is upgraded
		t.pairWebSocket(w, r)
	default:
		w.Header().Set("Connection", "close")
		refuseStranger.write(w)
	}
}

func (t *Terminal) pairHTTP(w http.ResponseWriter, r *http.Request) {
	if err := t.tryPairHTTP(w, r); err != nil && !errors.Is(err, errDelivery) {
		refusalOf(err).write(w)
	}
}

func (t *Terminal) tryPairHTTP(w http.ResponseWriter, r *http.Request) error {
	text, err := readBody(w, r)
	if err != nil {
		return err
	}
	req, err := parseRequest(text)
	if err != nil {
		return err
	}
	return t.exchange(r.RemoteAddr, deliverHTTP(w)).pair(r.Context(), req)
}

// renew answers a paired POS that wants another certificate. The present one
// stays good until the other has been used, so that no POS is lost to a reply
// that was.
func (t *Terminal) renew(w http.ResponseWriter, r *http.Request, p POS) {
	if err := t.tryRenew(w, r, p); err != nil {
		t.log().Warn("renewal failed", slog.String("posId", p.ID), slog.String("source", r.RemoteAddr), slog.Any("error", err))
		if !errors.Is(err, errDelivery) {
			refusalOf(err).write(w)
		}
	}
}

func (t *Terminal) tryRenew(w http.ResponseWriter, r *http.Request, p POS) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return refuseMethod
	}
	if wait, ok := t.state().limiter.allow("renewal of " + p.ID); !ok {
		return refuseRate(wait)
	}
	text, err := readBody(w, r)
	if err != nil {
		return err
	}
	pub, err := parseRenewal(text)
	if err != nil {
		return err
	}
	x := t.exchange(r.RemoteAddr, deliverHTTP(w))
	x.present = p.Certificate
	leaf, err := x.issue(r.Context(), p.ID, nil, pub)
	if err != nil {
		return err
	}
	x.audit(slog.LevelInfo, "POS certificate renewed", p.ID, described(leaf)...)
	x.s.desk.report(Event{Kind: EventRenewed, POSID: p.ID})
	x.discardUnused(r.Context(), p, leaf)
	return nil
}

// maxUnused is how many more certificates may wait for the POS to use them, beside
// its present one and the newest.
const maxUnused = 2

// discardUnused keeps a POS that renews without end from filling the token. What its
// lost replies have left goes, the oldest first.
func (x *exchange) discardUnused(ctx context.Context, p POS, newest *x509.Certificate) {
	unused := 0
	for _, one := range x.List() {
		if one.ID != p.ID || one.Certificate.Equal(p.Certificate) || one.Certificate.Equal(newest) {
			continue
		}
		if unused++; unused > maxUnused {
			x.retire(ctx, one.Certificate, "renewed again and never used")
		}
	}
}

var refuseMethod = &refusal{
	status: http.StatusMethodNotAllowed, err: ErrRequest,
	message:   "The request was not understood.",
	developer: "a certificate is renewed with POST",
}

// readBody reads a small request that must arrive soon. After an error the deadline
// stays, for what the server still reads of it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(requestTime)) // not supported by a recorder
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err == nil {
		_ = control.SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, refuseTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refuseSlow
	case err != nil:
		return nil, errors.Join(ErrRequest, err)
	}
	return text, nil
}

// deliverHTTP sends a bundle. It succeeds when the network has taken all of it.
func deliverHTTP(w http.ResponseWriter) func([]byte) error {
	return func(reply []byte) error {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Now().Add(deliveryTime)) // not supported by a recorder
		defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
		h := w.Header()
		noStore(h)
		h.Set("Content-Type", bundleMedia)
		h.Set("Content-Length", strconv.Itoa(len(reply)))
		if _, err := w.Write(reply); err != nil {
			return err
		}
		if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		return nil
	}
}

// sameOrigin keeps web pages of other hosts from trying codes through a browser.
// Programs send no Origin.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

// isUpgrade reports whether r asks for a WebSocket (RFC 6455 section 4.1).
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && slices.ContainsFunc(
		strings.Split(strings.Join(r.Header.Values("Connection"), ","), ","),
		func(token string) bool { return strings.EqualFold(strings.TrimSpace(token), "upgrade") })
}
