// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"
)

const (
	defaultSessions    = 4
	defaultSessionWait = 5 * time.Second

	// Sessions that are open beside those that sign: the anchor's, the one
	// crypto11 keeps for itself, and one for everything but signing.
	fixedSessions = 3
)

// Open opens a token and logs in. A token that is open in this process already
// is shared, and its PIN must be the same: PKCS#11 itself would accept any.
// A wrong PIN is tried once. Errors: [*TokenError] if no token or several
// match, [ErrPIN], [ErrPINLocked], [ErrPINFinalTry], [ErrNoPIN],
// [ErrNotInitialized], or a [*Error].
func Open(ctx context.Context, cfg Config) (_ Token, err error) {
	m, err := moduleFor(cfg.Module)
	if err != nil {
		return nil, err
	}
	if err := m.acquire(cfg.Select); err != nil {
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

// choose finds the token in the running module.
func (m *module) choose(ctx context.Context, sel Selector) (info TokenInfo, err error) {
	err = m.call(ctx, func(raw *pkcs11.Ctx) error {
		found, err := listTokens(raw, m.path)
		if err != nil {
			return err
		}
		if info, err = chooseToken(m.path, sel, found); err != nil {
			return err
		}
		info.Mechanisms, err = mechanisms(raw, info.Slot)
		return err
	})
	return info, err
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
	pin, err := cfg.PIN(ctx)
	if err != nil {
		return nil, err
	}
	if len(pin) == 0 {
		return nil, ErrNoPIN
	}
	return pin, nil
}

// open returns the core of the token, made now or shared.
func (m *module) open(ctx context.Context, cfg Config, info TokenInfo, pin []byte) (*core, error) {
	m.life.Lock()
	defer m.life.Unlock()
	if c := m.cores[info.Slot]; c != nil {
		if !c.knows(pin) {
			return nil, &Error{Op: "C_Login", Code: ckrPINIncorrect}
		}
		c.refs++
		return c, nil
	}
	c, err := newCore(m, cfg, info)
	if err != nil {
		return nil, err
	}
	g, err := c.build(ctx, pin)
	if err != nil {
		return nil, err
	}
	c.remember(pin)
	c.generation.Store(g)
	m.cores[info.Slot] = c
	return c, nil
}

// A core is one token of this process, shared by all who opened it.
type core struct {
	module   *module
	cfg      Config
	info     TokenInfo // as it was when opened
	sessions int       // how many may sign at once
	log      *slog.Logger
	refs     int // guarded by module.life

	salt, pinSum [32]byte // to recognise the PIN without keeping it

	generation atomic.Pointer[generation] // nil once closed
}

func newCore(m *module, cfg Config, info TokenInfo) (*core, error) {
	c := &core{module: m, cfg: cfg, info: info, sessions: cfg.Sessions, log: cfg.Logger, refs: 1}
	if c.sessions <= 0 {
		c.sessions = defaultSessions
	}
	if c.cfg.SessionWait <= 0 {
		c.cfg.SessionWait = defaultSessionWait
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if limit := info.MaxSessions; limit > 0 {
		c.sessions = min(c.sessions, limit-fixedSessions)
	}
	if c.sessions < 1 {
		return nil, fmt.Errorf("%w: it allows %d sessions, %d are needed", ErrUnsupported, info.MaxSessions, fixedSessions+1)
	}
	return c, nil
}

func (c *core) remember(pin []byte) {
	rand.Read(c.salt[:]) //nolint:errcheck // never fails, by its documentation
	c.pinSum = c.sum(pin)
}

func (c *core) knows(pin []byte) bool {
	sum := c.sum(pin)
	return subtle.ConstantTimeCompare(sum[:], c.pinSum[:]) == 1
}

func (c *core) sum(pin []byte) [32]byte {
	return sha256.Sum256(append(c.salt[:len(c.salt):len(c.salt)], pin...))
}

// close gives up one reference; the last one closes the sessions.
func (c *core) close() {
	m := c.module
	m.life.Lock()
	defer m.life.Unlock()
	if c.refs--; c.refs == 0 {
		delete(m.cores, c.info.Slot)
		c.generation.Swap(nil).close()
	}
	m.releaseLocked()
}

// current returns the generation to work with.
func (c *core) current() (*generation, error) {
	if g := c.generation.Load(); g != nil {
		return g, nil
	}
	return nil, ErrClosed
}
