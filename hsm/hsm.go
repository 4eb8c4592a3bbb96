// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package hsm opens PKCS#11 tokens and manages them: listing, initialising,
// PINs, random bytes. What lies on a token is the business of packages keystore
// and truststore.
//
// A token is named by an RFC 7512 URI or by the fields of [Config]:
//
//	pkcs11:token=terminal?module-path=/usr/lib/softhsm/libsofthsm2.so
//	pkcs11:serial=2cb1ba5f91c4d2a0?module-path=/opt/vendor/libp11.so&pin-source=file:/run/pin
//	pkcs11:slot-id=3?module-path=/opt/vendor/libp11.so
//
// PKCS#11 knows one login for each token and process. Opening a token that the
// process has open already therefore shares it, and takes the same PIN or
// fails. Programs built without cgo get [ErrNoCgo] from every function that
// would load a module.
package hsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// Config says which token to open and how to log in. The zero Config names no
// module and cannot be opened.
type Config struct {
	// URI is an RFC 7512 PKCS#11 URI. Its attributes token, serial, slot-id,
	// module-path, pin-source and pin-value are used, and others refused.
	// Fields below that are set win over it. Empty means there is none.
	URI string

	// Module is the path of the PKCS#11 library. Required, here or in URI.
	Module string

	// ModuleHost is a program that runs the library in a process of its own, so
	// that a crash of the library, or a call that never returns, is an outage to
	// recover from and not the end of this process. It is started with the one
	// argument [ModuleHostArgument], this process's environment and a private
	// socket, when the token is opened and again after each end: the command
	// hsmtls is such a program, others call [ServeModule]. A name without a slash
	// is looked for in $PATH. Empty means that the library is loaded into this
	// process.
	ModuleHost string

	// Token is the label of the token, Serial its serial number, SlotID its
	// slot. All that are set must fit, and exactly one token must. With none
	// set, the module must hold exactly one initialised token. Slot numbers
	// change when a module is loaded anew: prefer the other two.
	Token  string
	Serial string
	SlotID *uint

	// PIN is where the user PIN comes from. It is asked when the token is
	// opened, and again after each outage. The zero PIN is good for tokens that
	// require no login only.
	PIN PIN

	// Sessions is how many calls may be inside the token at the same time.
	// Zero means eight, or as many as there are processors if there are more,
	// or fewer if the token allows fewer sessions; of these, as many may be
	// signatures as the token is found to make at once: of a token that computes
	// on this machine the number of its processors, of one that is waited for all.
	// More than the token does in parallel makes single signatures slower, not
	// all of them together faster. A number that is set is not second-guessed.
	Sessions int

	// Queue is how many calls may wait for a session, first come first served;
	// more are turned away with [ErrBusy]. Zero means 4096.
	Queue int

	// Hold is how long a call waits for a token that lost its sessions, before
	// it fails with [*UnavailableError]. Zero means 5 s, negative not at all.
	Hold time.Duration

	// SignTimeout bounds one signature, from the call to the result; it is
	// [ErrBusy] after that. Zero means 10 s. A module host that has had a
	// signature for as long is ended.
	SignTimeout time.Duration

	// Logger receives warnings. Nil means they are discarded.
	Logger *slog.Logger
}

// A Token is an open, logged-in token. It is safe for concurrent use. After
// Close every method returns [ErrClosed], and so do the keys that came from it.
type Token struct{ device p11.Token }

// Open opens a token and logs in. A wrong PIN ([ErrPIN]) is tried once, and not
// at all when it would be the last try ([ErrPINFinalTry]) or the PIN is locked
// ([ErrPINLocked]). A token that is not there is [ErrNotFound]; several that fit, or
// another one with the same label and serial, are [ErrAmbiguous]. Both say which there are.
func Open(ctx context.Context, cfg Config) (*Token, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, fmt.Errorf("hsm: %w", err)
	}
	device, err := p11.Open(ctx, p11.Config{
		Module:   cfg.Module,
		Host:     cfg.ModuleHost,
		Select:   cfg.selector(),
		PIN:      cfg.PIN.source,
		Sessions: cfg.Sessions,
		Queue:    cfg.Queue,
		Hold:     cfg.Hold,
		Timeout:  cfg.SignTimeout,
		Logger:   cfg.Logger,
	})
	if err != nil {
		return nil, wrap(err)
	}
	return &Token{device: device}, nil
}

func (c Config) selector() p11.Selector {
	return p11.Selector{Label: c.Token, Serial: c.Serial, Slot: c.SlotID}
}

// Device gives the packages of this module their way to the token. Its type is
// internal: other modules have no use for it.
func (t *Token) Device() p11.Token { return t.device }

// Info asks the token for its description, free memory and PIN state included.
func (t *Token) Info(ctx context.Context) (Info, error) {
	info, err := t.device.Info(ctx)
	return newInfo(info), wrap(err)
}

// Random returns n bytes from the token's random generator (C_GenerateRandom).
func (t *Token) Random(ctx context.Context, n int) ([]byte, error) {
	b, err := t.device.Random(ctx, n)
	return b, wrap(err)
}

// SetPIN changes the user PIN (C_SetPIN). A wrong old PIN is [ErrPIN], and is
// noticed without spending one of the token's tries.
func (t *Token) SetPIN(ctx context.Context, oldPIN, newPIN PIN) error {
	before, err := oldPIN.get(ctx)
	if err != nil {
		return fmt.Errorf("hsm: old PIN: %w", err)
	}
	defer clear(before)
	after, err := newPIN.get(ctx)
	if err != nil {
		return fmt.Errorf("hsm: new PIN: %w", err)
	}
	defer clear(after)
	return wrap(t.device.SetPIN(ctx, before, after))
}

// Close gives the token back. When all who opened it have closed it, the
// process logs out. Closing twice is harmless; the error is always nil.
func (t *Token) Close() error { return wrap(t.device.Close()) }

// wrap adds the package to an error, and the sentinels to a failed choice.
func wrap(err error) error {
	var choice *p11.TokenError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &choice) && choice.Ambiguous():
		return fmt.Errorf("hsm: %w: %w", ErrAmbiguous, err)
	case choice != nil:
		return fmt.Errorf("hsm: %w: %w", ErrNotFound, err)
	}
	return fmt.Errorf("hsm: %w", err)
}
