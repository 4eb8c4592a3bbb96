// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// What can be wrong with an alias, an object or the store. They come inside an
// [*Error], a [*RejectedError] or a [Rejected].
var (
	// ErrNotFound is returned by [Store.Remove] for an alias without an entry.
	ErrNotFound = errors.New("no such entry")

	// ErrExists is returned by [Store.Inject] if the alias names another
	// object, or the certificate is an entry under another alias.
	ErrExists = errors.New("already on the token")

	// ErrNotStored is returned by [Store.Inject] and [Store.Remove] if the
	// token acknowledged a change and then did not show it.
	ErrNotStored = errors.New("token did not keep the change")

	// ErrNoAnchors is returned by [Open] if no root is given.
	ErrNoAnchors = errors.New("no acquirer, vendor or pairing root is configured")

	// ErrEmpty is returned by [Store.Verify] of a store without entries.
	ErrEmpty = errors.New("trust store has no entries")

	// ErrUntrusted is returned by [Store.Verify] for a certificate that an
	// anchor vouches for, but no entry.
	ErrUntrusted = errors.New("neither a trusted entry nor issued by one")

	// ErrUnrelated is returned by [Store.Inject] if a further certificate is
	// not an issuer of the first one.
	ErrUnrelated = errors.New("not an issuer of the certificate to inject")

	// ErrPairing is returned by [Store.Inject] for anything but the certificate
	// of a client if only an anchor of [Anchors].Pairing vouches for it.
	ErrPairing = errors.New("pairing anchor vouches for clients only")

	// ErrAmbiguous marks objects that contend for one alias or hold one
	// certificate under several.
	ErrAmbiguous = errors.New("several objects have this alias or certificate")

	// ErrMarked marks an object whose CKA_ID claims another certificate than
	// the one it holds.
	ErrMarked = errors.New("id does not belong to the certificate")

	// ErrForeign marks a certificate on the token that neither belongs to a
	// key there nor was written by this module.
	ErrForeign = errors.New("not an entry of this store and not an identity")
)

// An Error is a failed operation. Every error of this package is one, and has
// more to say inside: a [*RejectedError], a sentinel, or what the token answered.
type Error struct {
	Op    string // "open", "refresh", "inject", "remove", "verify"
	Alias string // empty if the operation is not about one alias
	Err   error  // never nil
}

// Error names the operation, the alias and the cause.
func (e *Error) Error() string {
	if e.Alias == "" {
		return fmt.Sprintf("truststore: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("truststore: %s %q: %v", e.Op, e.Alias, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// A RejectedError says which certificate was refused and why. Err is a
// [*RuleError], an error of crypto/x509, or a sentinel of this package.
type RejectedError struct {
	Certificate *x509.Certificate // the one at fault, which may be an issuer
	Err         error
}

// Error names the certificate by its subject.
func (e *RejectedError) Error() string {
	return fmt.Sprintf("certificate %q is refused: %v", describe(e.Certificate), e.Err)
}

// Unwrap returns the reason.
func (e *RejectedError) Unwrap() error { return e.Err }

// A RuleError is a breach of one rule of the certificate profile.
type RuleError struct {
	Rule    string // stable name, such as "leaf-san"
	Section string // where the rule comes from, such as "RFC 5280 4.2.1.6"
	Want    string // what the rule demands
}

// Error gives the demand and its source.
func (e *RuleError) Error() string {
	return fmt.Sprintf("%s (rule %s, %s)", e.Want, e.Rule, e.Section)
}

// wrap adds operation and alias to the error a function is about to return.
func wrap(err *error, op, alias string) {
	if *err != nil {
		*err = &Error{Op: op, Alias: alias, Err: *err}
	}
}

func describe(c *x509.Certificate) string {
	if name := c.Subject.String(); name != "" {
		return name
	}
	return fmt.Sprintf("serial %x", c.SerialNumber)
}
