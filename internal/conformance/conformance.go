// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package conformance finds out what a PKCS#11 module can do of what this
// library needs. It makes keys, certificates and connections on a token through
// the public packages, and notes for every feature whether it works or how it is
// refused. What works on one module and is refused by another is a matter of
// taste; what neither works nor is refused properly fails the test.
//
// A run leaves the token as it was, but it writes to it, and it may spend one
// try of the PIN: see [Subject].
package conformance

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// A Subject is a token to try.
type Subject struct {
	// Config is how to open it. Nobody else in the process may have it open.
	Config hsm.Config

	// Lose makes the token lose its sessions. Nil means that recovery is not
	// tried.
	Lose func()

	// WrongPIN is tried once, and the right one after it. Some tokens count
	// wrong PINs for ever, so that three in the life of the token lock it. The
	// zero PIN means that none is tried.
	WrongPIN hsm.PIN

	// KeyTypes are the types of keys to try. Empty means all.
	KeyTypes []keystore.KeyType
}

// An Outcome is what became of a feature. The zero Outcome is none.
type Outcome int

// The outcomes.
const (
	Works    Outcome = iota + 1
	Degraded         // works, without something that was asked for
	Refused          // by the token, or on its behalf, with a proper error
	NotTried
	Broken // the test has failed
)

// String returns the outcome in words.
func (o Outcome) String() string {
	switch o {
	case Works:
		return "works"
	case Degraded:
		return "degraded"
	case Refused:
		return "refused"
	case NotTried:
		return "not tried"
	case Broken:
		return "broken"
	}
	return "unknown"
}

// A Row is one feature.
type Row struct {
	Feature string
	Outcome Outcome
	Why     string // empty if it works
}

// A Result is all that was found out.
type Result struct {
	Info hsm.Info
	Rows []Row
}

// String is a table for people.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s %s\n", r.Info.Library, r.Info.Manufacturer, r.Info.Model)
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "| %-40s | %-9s | %s\n", row.Feature, row.Outcome, row.Why)
	}
	return b.String()
}

// Of returns the row of a feature, the zero Row if there is none.
func (r Result) Of(feature string) Row {
	for _, row := range r.Rows {
		if row.Feature == feature {
			return row
		}
	}
	return Row{}
}

// A trial is one run.
type trial struct {
	t       *testing.T
	subject Subject
	token   *hsm.Token
	keys    *keystore.Store
	made    map[keystore.KeyType]*keystore.Key
	prefix  string // of every alias
	result  Result
}

// patience bounds one feature: an RSA key takes some tokens minutes.
const patience = 5 * time.Minute

// Run tries everything on one token. A token that cannot be opened fails the
// test.
func Run(t *testing.T, s Subject) Result {
	t.Helper()
	r := &trial{t: t, subject: s, made: map[keystore.KeyType]*keystore.Key{}, prefix: "conformance-" + random() + "-"}
	defer r.tidy()
	r.open()
	r.generate()
	r.attest()
	r.sign()
	r.request()
	r.identities()
	r.trust()
	r.handshakes()
	r.sessions()
	r.pins()
	r.deletion()
	return r.result
}

// open opens the token as the subject says.
func (r *trial) open() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	token, err := hsm.Open(ctx, r.subject.Config)
	if err != nil {
		r.t.Fatalf("the token cannot be opened: %v", err)
	}
	r.token, r.keys = token, keystore.New(token)
	if r.result.Info, err = token.Info(ctx); err != nil {
		r.t.Fatalf("the token does not describe itself: %v", err)
	}
}

// A degradedError says what a token did not grant.
type degradedError string

func (e degradedError) Error() string { return string(e) }

// A notTriedError says why a feature was not tried.
type notTriedError string

func (e notTriedError) Error() string { return string(e) }

// feature tries one thing. An error is a refusal if it is one by its type; any
// other fails the test.
func (r *trial) feature(name string, f func(ctx context.Context) error) bool {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), patience)
	defer cancel()
	err := f(ctx)
	row := Row{Feature: name, Outcome: Works}
	var degraded degradedError
	var notTried notTriedError
	switch {
	case err == nil:
	case errors.As(err, &degraded):
		row.Outcome, row.Why = Degraded, err.Error()
	case errors.As(err, &notTried):
		row.Outcome, row.Why = NotTried, err.Error()
	case isRefusal(err):
		row.Outcome, row.Why = Refused, reason(err)
	default:
		row.Outcome, row.Why = Broken, strings.ReplaceAll(err.Error(), "\n", "; ")
		r.t.Errorf("%s: %v", name, err)
	}
	r.result.Rows = append(r.result.Rows, row)
	return row.Outcome == Works || row.Outcome == Degraded
}

// refusals are the answers of a token that does not do something (PKCS#11 v2.40
// section 5.1), not of one that does not work.
var refusals = []uint{
	0x10,  // CKR_ATTRIBUTE_READ_ONLY
	0x12,  // CKR_ATTRIBUTE_TYPE_INVALID
	0x13,  // CKR_ATTRIBUTE_VALUE_INVALID
	0x54,  // CKR_FUNCTION_NOT_SUPPORTED
	0x62,  // CKR_KEY_SIZE_RANGE
	0x68,  // CKR_KEY_FUNCTION_NOT_PERMITTED
	0x70,  // CKR_MECHANISM_INVALID
	0x71,  // CKR_MECHANISM_PARAM_INVALID
	0xd0,  // CKR_TEMPLATE_INCOMPLETE
	0xd1,  // CKR_TEMPLATE_INCONSISTENT
	0x140, // CKR_CURVE_NOT_SUPPORTED
}

func isRefusal(err error) bool {
	if errors.Is(err, hsm.ErrUnsupported) || errors.Is(err, keystore.ErrAttributes) {
		return true
	}
	var e *hsm.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range refusals {
		if e.Code == code {
			return true
		}
	}
	return false
}

// reason is the innermost of an error, without the alias, which is random.
func reason(err error) string {
	var e *keystore.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return err.Error()
}

// tidy removes what a failed run has left, and closes the token.
func (r *trial) tidy() {
	if r.token == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), patience)
	defer cancel()
	identities, _ := r.keys.Identities(ctx)
	for _, i := range identities {
		if strings.HasPrefix(i.Alias, r.prefix) {
			_ = r.keys.DeleteCertificate(ctx, i.Alias)
		}
	}
	keys, _ := r.keys.Keys(ctx)
	for _, k := range keys {
		if strings.HasPrefix(k.Alias, r.prefix) {
			_ = r.keys.DeleteKey(ctx, k.Alias)
		}
	}
	_ = r.token.Close()
}

func random() string {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
