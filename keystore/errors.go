// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// What can be wrong with a name, a key or a certificate. Every method of
// [Store] wraps them in an [*Error]. A device error stays the *hsm.Error it is.
var (
	// ErrNotFound means that nothing on the token has this alias.
	ErrNotFound = errors.New("not on the token")

	// ErrExists means that the alias is taken. Returned by Generate,
	// ImportInsecure and Inject.
	ErrExists = errors.New("alias is taken")

	// ErrAmbiguous means that several objects fit where one is meant. The text
	// lists them. Nothing is ever chosen for being found first.
	ErrAmbiguous = errors.New("ambiguous")

	// ErrMismatch means that a certificate and a key do not belong together:
	// the public keys differ, the CKA_ID that binds them is missing or leads
	// nowhere, or the key's signature does not verify.
	ErrMismatch = errors.New("certificate and key do not belong together")

	// ErrExtractable means that the private key can leave the token, or could
	// at some time, or that the token does not say that it could not.
	ErrExtractable = errors.New("private key is not confined to the token")

	// ErrAttributes means that the token made another key than was asked for.
	// The key has been destroyed. Returned by Generate and ImportInsecure.
	ErrAttributes = errors.New("token made another kind of key than was asked for")

	// ErrInUse means that certificates on the token use the key. Returned by
	// DeleteKey.
	ErrInUse = errors.New("key is in use")

	// ErrWeak means an RSA key below 2048 bits, a curve other than P-256, P-384
	// and P-521, or a signature with MD5 or SHA-1.
	ErrWeak = errors.New("too weak")

	// ErrChain means that certificates are no chain for TLS: empty, in the
	// wrong order, with a repetition, or headed by a certificate for another
	// purpose.
	ErrChain = errors.New("not a certificate chain for TLS")

	// ErrNotStored means that the token holds something else than what was
	// written to it.
	ErrNotStored = errors.New("token did not store what was written")

	// ErrUnsupported means that the token or this package cannot do this with
	// this kind of key. It equals hsm.ErrUnsupported.
	ErrUnsupported = p11.ErrUnsupported
)

// An Error says which operation failed on which alias.
type Error struct {
	Op    string // such as "inject"; never empty
	Alias string // empty for an operation on the whole token
	Err   error  // never nil
}

// Error gives the operation, the alias and the reason.
func (e *Error) Error() string {
	if e.Alias == "" {
		return fmt.Sprintf("keystore: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("keystore: %s %q: %v", e.Op, e.Alias, e.Err)
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// A ChainError says which certificate of a chain was refused. Err is or wraps
// [ErrWeak], [ErrChain], or an error of crypto/x509 such as
// [x509.CertificateInvalidError].
type ChainError struct {
	Certificate *x509.Certificate // nil if it could not be parsed
	Err         error             // never nil
}

// Error gives the subject and the reason.
func (e *ChainError) Error() string {
	if e.Certificate == nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("certificate %q: %v", e.Certificate.Subject, e.Err)
}

// Unwrap returns the reason.
func (e *ChainError) Unwrap() error { return e.Err }

// wrap adds operation and alias to the error that a method is about to return.
func wrap(err *error, op, alias string) {
	if *err != nil {
		*err = &Error{Op: op, Alias: alias, Err: *err}
	}
}

// signerError puts this package's sentinels in front of what the device layer
// says about a key.
func signerError(err error) error {
	switch {
	case errors.Is(err, p11.ErrKeyNotFound):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, p11.ErrKeyAmbiguous):
		return fmt.Errorf("%w: %w", ErrAmbiguous, err)
	case errors.Is(err, p11.ErrKeyMismatch):
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	return err
}

// also adds what went wrong while an error was dealt with, if anything did.
func also(err, then error) error {
	if then == nil {
		return err
	}
	return fmt.Errorf("%w; then %w", err, then)
}
