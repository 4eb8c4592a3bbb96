// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrIncomplete is returned by every entry point when a required field is
	// missing or cannot work.
	ErrIncomplete = errors.New("pairing: incomplete")

	// ErrClosed is returned by the methods of a [Terminal] after Close.
	ErrClosed = errors.New("pairing: terminal is closed")

	// ErrCode is returned by [ParseCode] for what cannot be a setup code, and
	// wrapped in the [*StatusError] of [Client.Pair] when the terminal does not
	// accept the code: it is wrong, used, expired, or none is shown.
	ErrCode = errors.New("pairing: setup code is not accepted")

	// ErrBusy is wrapped in a [*StatusError] when trying again later may help:
	// too many requests, a code that another POS is using, a token that does
	// not answer.
	ErrBusy = errors.New("pairing: terminal is busy")

	// ErrNotPaired is wrapped in the [*StatusError] of requests other than
	// [Client.Pair] when the terminal does not know the certificate.
	ErrNotPaired = errors.New("pairing: terminal does not know this POS")

	// ErrPOSID is returned for a POS id that is not 1 to 64 printable characters.
	ErrPOSID = errors.New("pairing: POS id must be 1 to 64 printable characters, without spaces around it")

	// ErrRequest is returned by [Client.Pair] and by the terminal's parser for a
	// request that is not what the protocol says.
	ErrRequest = errors.New("pairing: bad request")

	// ErrCSR is returned for a certificate request that cannot be granted: bad
	// signature, weak key or algorithm.
	ErrCSR = errors.New("pairing: certificate request is refused")

	// ErrResponse is returned by the methods of [Client] for a reply that is not
	// what the protocol says.
	ErrResponse = errors.New("pairing: bad response")

	// ErrRedirect is returned by the methods of [Client] for a reply that points
	// elsewhere.
	ErrRedirect = errors.New("pairing: redirect refused")

	// ErrBundle is returned by [ParseBundle] and [LoadBundle] for anything but a
	// private key, its certificate and the chain up to the root.
	ErrBundle = errors.New("pairing: bad bundle")

	// ErrRoot is returned by [ParseRoot] and [ParseFingerprint] for what is no
	// root, and by a handshake in which the pinned one does not occur.
	ErrRoot = errors.New("pairing: bad root")

	// ErrUnknown is returned by [Terminal.Revoke] for a POS that is not listed.
	ErrUnknown = errors.New("pairing: no such POS")

	// ErrIssuer is wrapped in the [*IssuerError] of a pairing CA that may not
	// issue: wrong key, no CA, out of date.
	ErrIssuer = errors.New("pairing: CA cannot issue")

	// ErrExpiring is wrapped in the [*IssuerError] of [Issuer.Check] for a
	// pairing CA that can issue, but not for much longer.
	ErrExpiring = errors.New("pairing: CA expires soon")
)

// A StatusError is a refusal by the terminal, as its [ErrorResponse] has it.
// It wraps [ErrCode], [ErrBusy] or [ErrNotPaired] where one of them applies.
type StatusError struct {
	// Status is the HTTP status; over wss, the close code less 4000.
	Status int
	// RetryAfter is how long the terminal asks to wait, zero if it does not say.
	RetryAfter time.Duration
	// Response is what the terminal says; it was not checked beyond its form.
	Response ErrorResponse

	kind error
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("pairing: terminal refuses with status %d: %q", e.Status, e.Response.Message)
}

func (e *StatusError) Unwrap() error { return e.kind }
