// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"errors"
)

// Open opens a token and logs in. A token that is open in this process already
// is shared, and its PIN must be the same: PKCS#11 itself would accept any.
// A wrong PIN is tried once. Errors: [*TokenError] if no token or several
// match, or if another one has the same label and serial, [ErrPIN], [ErrPINLocked],
// [ErrPINFinalTry], [ErrNoPIN], [ErrNotInitialized], or a [*Error].
func Open(ctx context.Context, cfg Config) (_ Token, err error) {
	m, err := moduleFor(cfg.Module, cfg.Host)
	if err != nil {
		return nil, err
	}
	if err := m.acquire(ctx, cfg.Logger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.release()
		}
	}()
	info, err := m.choose(ctx, cfg.Select)
	if err != nil {
		return nil, err
	}
	pin, err := askPIN(ctx, cfg, info)
	if err != nil {
		return nil, err
	}
	defer clear(pin)
	c, err := m.open(ctx, cfg, info, pin)
	if err != nil {
		return nil, err
	}
	return &handle{core: c}, nil
}

// choose finds the token in the running module. A call that hangs in it is left there
// when ctx ends.
func (m *module) choose(ctx context.Context, sel Selector) (TokenInfo, error) {
	return Await(ctx, func() (info TokenInfo, err error) {
		err = m.call(ctx, func(raw library) error {
			found, err := m.list(raw)
			if err != nil {
				return err
			}
			if info, err = chooseLasting(m.path, sel, found); err != nil {
				return err
			}
			info.Mechanisms, err = mechanisms(raw, info.Slot)
			return err
		})
		return info, err
	}, func(TokenInfo) {})
}

// askPIN gets the PIN if the token wants one and a try would not be its last.
func askPIN(ctx context.Context, cfg Config, info TokenInfo) ([]byte, error) {
	switch f := info.Flags; {
	case !f.Initialized:
		return nil, ErrNotInitialized
	case !f.LoginRequired:
		return nil, nil
	case f.UserPINLocked:
		return nil, ErrPINLocked
	case f.UserPINFinalTry:
		return nil, ErrPINFinalTry
	case cfg.PIN == nil:
		return nil, ErrNoPIN
	}
	pin, err := Await(ctx, func() ([]byte, error) { return cfg.PIN(ctx) }, func(late []byte) { clear(late) })
	if err != nil {
		return nil, &pinSourceError{err}
	}
	if len(pin) == 0 {
		return nil, ErrNoPIN
	}
	return pin, nil
}

// A pinSourceError is the error of the place a PIN comes from.
type pinSourceError struct{ error }

func (e *pinSourceError) Unwrap() error { return e.error }

// isPINError reports whether trying again would be wrong: nobody but an
// operator can help, and another try could lock the token.
func isPINError(err error) bool {
	var source *pinSourceError
	return errors.As(err, &source) || errors.Is(err, ErrPIN) || errors.Is(err, ErrPINLocked) ||
		errors.Is(err, ErrPINFinalTry) || errors.Is(err, ErrNoPIN)
}

// open returns the core of the token, made now or shared.
func (m *module) open(ctx context.Context, cfg Config, info TokenInfo, pin []byte) (*core, error) {
	if err := m.lockVacant(ctx, info); err != nil {
		return nil, err
	}
	defer m.unlock()
	if c := m.core(info); c != nil {
		if !c.knows(pin) {
			return nil, &Error{Op: "C_Login", Code: ckrPINIncorrect}
		}
		c.refs++
		return c, nil
	}
	c := newCore(m, cfg, info)
	g, err := c.build(ctx, info.Slot, pin)
	if err != nil {
		return nil, err
	}
	c.remember(pin)
	c.publish(g)
	m.cores[c] = struct{}{}
	return c, nil
}

// lockVacant takes life when no core of the token is being closed: its logout would
// be that of the next one too.
func (m *module) lockVacant(ctx context.Context, info TokenInfo) error {
	for {
		if err := m.lock(ctx); err != nil {
			return err
		}
		c := m.core(info)
		if c == nil || c.refs > 0 {
			return nil
		}
		m.unlock()
		select {
		case <-c.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// core returns the open core of a token. Slots change when a module is
// initialised again, so a token is known by what it says of itself.
func (m *module) core(info TokenInfo) *core {
	for c := range m.cores {
		if c.info.Serial == info.Serial && c.info.Label == info.Label {
			return c
		}
	}
	return nil
}
