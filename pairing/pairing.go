// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package pairing connects point-of-sale systems (POS) to a payment terminal. The
// operator has the terminal show a setup code of eight characters; the POS sends
// it with an id of its own, over https or wss, and gets a client certificate, with
// which it speaks mutual TLS from then on.
//
// [Terminal] is the terminal's side, [Client] that of the POS, and [Issuer] the
// pairing CA between them. docs/pairing.md has the protocol, for those who write a
// POS in another language. Package pairing/screen is the operator's page.
//
// The package knows no token. Keys are [crypto.Signer]s, the list of paired POS is
// a [Registry], and TLS comes from package hsmtls.
//
// # What a remote party can do
//
// Without the certificate of a paired POS nothing but pairing is answered. A code
// is compared in constant time, is used up by the first POS that gives it, and is
// replaced after 300 seconds and after five wrong tries. After ten codes have been
// burnt in a row, only the operator can make another, and always can: so there are
// fifty guesses at a trillion codes for each tap, and again for each 300 seconds that
// codes are shown after it. A wrong code costs no signature.
//
// # All or nothing
//
// A certificate is listed before it is sent, because the POS may use it at once,
// and taken from the list again if it cannot be sent. What was between the two
// when the terminal lost its power is noted in the [Terminal].Journal: after the
// restart the POS has ten minutes to show that it got its certificate, or it is
// taken from the list.
package pairing

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// A Terminal pairs POS and serves those that are paired. As an [http.Handler] it
// wants to be served over TLS with client certificates verified if given;
// [Terminal.Serve] does that, and nothing else can close the connections of a POS
// that is revoked.
//
// Use it by pointer. It is safe for concurrent use; its fields must not be
// changed after the first call.
type Terminal struct {
	// Issuer is the pairing CA. Required.
	Issuer *Issuer
	// Registry is the list of paired POS. Required.
	Registry Registry
	// Handler answers paired POS; [POSFrom] tells it which one asks. Nil means
	// that they get 404.
	Handler http.Handler

	// Provider and Alias are how Serve speaks TLS: keys, policy and limits, and
	// the identity to present. Its Trust must accept the certificates of Issuer
	// when they are on the list; the terminal accepts no others. Required by
	// Serve.
	Provider *hsmtls.Provider
	Alias    string
	// Root is the root of the terminal's own certificate, sent along in the
	// handshake so that a POS can check its fingerprint. Nil means that it is
	// not sent, and that there is no fingerprint to show.
	Root *x509.Certificate

	// Journal is the path of a small file that remembers which certificates are
	// not yet known to be delivered. It belongs to one Terminal. It comes into
	// being readable by its owner only, and so does its folder if there is none.
	// Empty means that a restart between listing and delivering leaves a
	// certificate on the list that nobody has.
	Journal string

	// Now is the clock for certificates and for the date a code is shown to
	// expire. Nil means [time.Now].
	Now func() time.Time
	// Logger receives what an auditor wants to know: codes shown, tried and
	// burnt, POS paired, renewed, revoked. No secret is among it. Nil means
	// that nothing is logged.
	Logger *slog.Logger

	once   sync.Once
	shared *terminalState
}

var _ http.Handler = (*Terminal)(nil)

// terminalState is what is behind a Terminal, made on first use.
type terminalState struct {
	hub     hub
	desk    *desk
	limiter *limiter
	stock   *stock
	live    *live
	trust   *posTrust
	served  *hsmtls.Provider // nil without Provider
	journal *journal
	err     error // of the journal

	closed   chan struct{}
	closing  sync.Once
	doubts   doubts
	changing changing
	retired  sync.Map // fingerprint → struct{}: what has been seen to supersede others
	serving  details
}

func (t *Terminal) state() *terminalState {
	t.once.Do(func() {
		s := &terminalState{
			limiter: newLimiter(), stock: newStock(), live: newLive(),
			trust: &posTrust{registry: t.Registry}, closed: make(chan struct{}),
		}
		if t.Provider != nil {
			s.trust.base = t.Provider.Trust
			s.served = served(t.Provider, s.trust, t.Root)
		}
		s.desk = newDesk(t.now, &s.hub)
		s.journal, s.err = openJournal(t.Journal)
		t.shared = s
		if s.err == nil && t.Registry != nil {
			t.doubt(s)
		}
	})
	return t.shared
}

// GenerateCode shows a new code, in place of the last one if that is still shown:
// the operator's tap. It fails with [ErrIncomplete] or an [*IssuerError] if no
// certificate could be issued, with the errors of the Journal, and with
// [ErrClosed]. It does not reach the token.
func (t *Terminal) GenerateCode() error {
	if err := t.check(); err != nil {
		return err
	}
	if err := t.Issuer.check(t.now()); err != nil {
		return err
	}
	s := t.state()
	if s.err != nil {
		return s.err
	}
	if err := s.desk.open(); err != nil {
		return err
	}
	s.stock.prepare()
	t.log().Info("setup code shown")
	return nil
}

// Dismiss ends the showing of codes, or of the message that a POS is paired:
// the operator's tap on Close.
func (t *Terminal) Dismiss() {
	s := t.state()
	s.desk.dismiss()
	s.stock.discard()
}

// State returns what there is to show now.
func (t *Terminal) State() State { return t.state().desk.snapshot() }

// Close ends everything that goes on in the background, and every [Terminal.Serve].
// Paired POS stay paired. It waits, up to the making of one RSA key.
func (t *Terminal) Close() error {
	s := t.state()
	s.closing.Do(func() {
		s.desk.shut()
		s.stock.discard()
		s.doubts.stop()
		close(s.closed)
	})
	s.stock.wait()
	return nil
}

// Refresh presents the certificate that Alias names by now: call it after that was
// renewed. Root must be the root of the new one too. Errors are [ErrIncomplete],
// those of [hsmtls.Provider.Refresh] and of Keys; after one, the certificate of
// before is presented.
func (t *Terminal) Refresh(ctx context.Context) error {
	s := t.state()
	if s.served == nil {
		return fmt.Errorf("%w: no provider", ErrIncomplete)
	}
	if err := s.served.Refresh(ctx); err != nil {
		return err
	}
	return s.serving.rename(ctx, t, s.served)
}

// check reports a required field that is missing.
func (t *Terminal) check() error {
	switch {
	case t.Issuer == nil:
		return fmt.Errorf("%w: no issuer", ErrIncomplete)
	case t.Registry == nil:
		return errNoRegistry
	}
	return nil
}

var errNoRegistry = fmt.Errorf("%w: no registry", ErrIncomplete)

func (t *Terminal) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}

func (t *Terminal) log() *slog.Logger {
	if t.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return t.Logger
}

// patience bounds what a request may take beside the network.
const patience = 30 * time.Second

// lasting is a context that outlives the request it came from, but not by long:
// what has been begun is ended properly even if the POS hangs up.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}
