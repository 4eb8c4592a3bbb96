// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// An ErrorResponse is what a terminal answers instead of a bundle, over https
// and over wss.
type ErrorResponse struct {
	Type                 string `json:"type"`                 // always "ErrorResponse"
	Message              string `json:"message"`              // for the person at the POS
	DeveloperDescription string `json:"developerDescription"` // for whoever integrates the POS
}

const (
	errorType      = "ErrorResponse"
	jsonMediaType  = "application/json"
	bundleMedia    = "application/x-pem-file"
	closeCodeBase  = 4000 // a close code is this plus the HTTP status (RFC 6455 section 7.4.2)
	maxRetryHeader = time.Hour
)

// A refusal is an answer other than the bundle. err is for the log and for
// [errors.Is]; it is never sent.
type refusal struct {
	status    int
	message   string
	developer string
	retry     time.Duration // zero: retrying does not help
	err       error
}

func (r *refusal) Error() string { return "pairing: " + r.developer }
func (r *refusal) Unwrap() error { return r.err }

func (r *refusal) response() ErrorResponse {
	return ErrorResponse{Type: errorType, Message: r.message, DeveloperDescription: r.developer}
}

func (r *refusal) encode() []byte {
	text, err := json.Marshal(r.response())
	if err != nil {
		return []byte(`{"type":"ErrorResponse","message":"","developerDescription":""}`)
	}
	return text
}

// seconds rounds up: a client that waits that long does not come too early.
func (r *refusal) seconds() string {
	wait := min(r.retry, maxRetryHeader)
	return strconv.Itoa(int((wait + time.Second - 1) / time.Second))
}

// write answers an HTTP request.
func (r *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	noStore(h)
	h.Set("Content-Type", jsonMediaType)
	if r.retry > 0 {
		h.Set("Retry-After", r.seconds())
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.encode()) // the client may be gone
}

func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// refusalOf turns any error into an answer. What it does not know is the
// terminal's own trouble.
func refusalOf(err error) *refusal {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, ErrPOSID):
		return badRequest("posId must be a string of 1 to 64 printable characters, without spaces around it", err)
	case errors.Is(err, ErrCSR):
		return badRequest("csr must be one PEM block CERTIFICATE REQUEST, signed with SHA-2, for RSA of 2048 to 8192 bits or P-256, P-384, P-521", err)
	case errors.Is(err, errCodeForm):
		return badRequest("setupCode must be 8 digits and letters, without I, L, O and U", err)
	case errors.Is(err, ErrRequest):
		return badRequest("the request must be one JSON object with the strings posId and setupCode, and csr if wished", err)
	}
	return &refusal{
		status: http.StatusServiceUnavailable, retry: 10 * time.Second, err: err,
		message:   "The terminal cannot do this now.",
		developer: "the terminal failed; its log says why; nothing was issued",
	}
}

func badRequest(developer string, err error) *refusal {
	return &refusal{
		status: http.StatusBadRequest, err: err,
		message: "The request was not understood.", developer: developer,
	}
}

var (
	refuseCode = &refusal{
		status: http.StatusForbidden, err: ErrCode,
		message:   "The code is wrong or no longer valid.",
		developer: "setupCode is not the one on the terminal's screen; it changes every 300 seconds, after use and after five wrong tries",
	}
	refuseTaken = &refusal{
		status: http.StatusConflict, err: errTaken, retry: 10 * time.Second,
		message:   "The code is being used by another POS.",
		developer: "a code is good for one POS; generate another at the terminal",
	}
	refuseStranger = &refusal{
		status: http.StatusForbidden, err: ErrNotPaired,
		message:   "This POS is not paired with the terminal.",
		developer: "without the client certificate of a paired POS only POST / and wss / with posId and setupCode are answered",
	}
	refusePlaintext = &refusal{
		status: http.StatusForbidden, err: errPlaintext,
		message:   "The connection is not secure.",
		developer: "TLS 1.2 is required",
	}
	refuseOrigin = &refusal{
		status: http.StatusForbidden, err: errOrigin,
		message:   "Requests from web pages are not accepted.",
		developer: "the Origin header names another host",
	}
	refuseTooLarge = &refusal{
		status: http.StatusRequestEntityTooLarge, err: ErrRequest,
		message:   "The request was not understood.",
		developer: "the request is longer than 16 KiB",
	}
	refuseSlow = &refusal{
		status: http.StatusRequestTimeout, err: ErrRequest,
		message:   "The request took too long.",
		developer: "the whole request must arrive within 10 seconds",
	}
	refuseCrowd = &refusal{
		status: http.StatusServiceUnavailable, err: ErrBusy, retry: 10 * time.Second,
		message:   "This POS has too many connections.",
		developer: "a POS may have 64 connections at a time",
	}
	refuseNothing = &refusal{
		status: http.StatusNotFound, err: errNoHandler,
		message:   "There is nothing here.",
		developer: "the terminal has no handler for requests of a paired POS",
	}
	refuseIncomplete = &refusal{
		status: http.StatusInternalServerError, err: ErrIncomplete,
		message:   "The terminal is not set up.",
		developer: "the terminal's configuration is incomplete",
	}
)

var (
	errTaken     = errors.New("pairing: code is being used")
	errPlaintext = errors.New("pairing: request without TLS")
	errOrigin    = errors.New("pairing: request of a web page")
	errNoHandler = errors.New("pairing: no handler")
	errDelivery  = errors.New("pairing: reply was not delivered")
)

func refuseRate(wait time.Duration) *refusal {
	return &refusal{
		status: http.StatusTooManyRequests, retry: max(wait, time.Second), err: ErrBusy,
		message:   "Too many tries. Please wait a moment.",
		developer: "too many requests from this address; see Retry-After",
	}
}
