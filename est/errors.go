// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package est

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrIncomplete means that a Client has no HTTP, or a URL that is not https
	// with a host and nothing behind it, a Label that cannot be part of a path, or a
	// user name with a colon, which HTTP Basic authentication cannot carry.
	ErrIncomplete = errors.New("est: incomplete")

	// ErrRequest means that what should be sent is no certificate request, or one
	// whose signature does not verify.
	ErrRequest = errors.New("est: not a certificate request")

	// ErrAnswer means that the server's answer is not what RFC 7030 says: another
	// content type, no base64, no certificates in PKCS #7, more than them, more
	// than 64 of them, or one with an RSA key of more than 16384 bits.
	ErrAnswer = errors.New("est: answer is malformed")

	// ErrTooLarge means that the answer is larger than MaxAnswer.
	ErrTooLarge = errors.New("est: answer is too large")

	// ErrOtherKey means that the answer to a request has no certificate for its
	// public key, or several.
	ErrOtherKey = errors.New("est: answer is not for the key that asked")
)

// A PendingError says that the CA has not decided yet (HTTP status 202). The same
// request may be sent again later.
type PendingError struct {
	// RetryAfter is how long the server wants to be left alone. Zero means that it
	// did not say.
	RetryAfter time.Duration
}

func (e *PendingError) Error() string {
	if e.RetryAfter == 0 {
		return "est: the CA has not decided yet"
	}
	return fmt.Sprintf("est: the CA has not decided yet and wants to be asked again in %v", e.RetryAfter)
}

// A StatusError is an answer with another HTTP status than 200.
type StatusError struct {
	// Operation is what was asked for, such as "simpleenroll".
	Operation string
	// Code is the HTTP status: 401 and 403 for a client that may not, 400 for a
	// request that the CA does not like, 3xx for a redirect, which is not followed.
	Code int
	// Text is what the server says for people to read, up to 1 KiB. It comes from
	// the network and may contain anything, so it is not part of the error text.
	Text string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("est: the server answers %s with HTTP status %d", e.Operation, e.Code)
}
