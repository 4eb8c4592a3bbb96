// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"errors"
	"sync"

	"github.com/miekg/pkcs11"
)

// sessions are the raw sessions of a generation: one that logs in and is used
// first, and a second that is opened when two callers meet. A PKCS#11 session
// does one thing at a time, so each has one user.
type sessions struct {
	core  *core
	place chan struct{} // one for each session that may be open
	done  chan struct{} // closed by close

	mu       sync.Mutex
	idle     []pkcs11.SessionHandle // last in, first out
	loggedIn bool
}

func newSessions(c *core) *sessions {
	n := 2
	if c.info.MaxSessions > 0 {
		n = 1 // counted in fixedSessions
	}
	return &sessions{core: c, place: make(chan struct{}, n), done: make(chan struct{})}
}

// login opens the first session and logs the process in to the token.
func (p *sessions) login(ctx context.Context, pin []byte) error {
	return p.with(ctx, func(raw *pkcs11.Ctx, s pkcs11.SessionHandle) error {
		if pin == nil {
			return nil
		}
		err := wrap("C_Login", raw.Login(s, pkcs11.CKU_USER, string(pin)))
		p.loggedIn = err == nil
		return err
	})
}

// with runs f with a session of its own. A session in which the module
// reported an error is closed, not used again: some modules leave the failed
// operation active in it.
func (p *sessions) with(ctx context.Context, f func(raw *pkcs11.Ctx, s pkcs11.SessionHandle) error) error {
	select {
	case p.place <- struct{}{}:
	case <-p.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.place }()
	return p.core.module.call(ctx, func(raw *pkcs11.Ctx) error {
		s, err := p.take(raw)
		if err != nil {
			return err
		}
		err = f(raw, s)
		var device *Error
		if errors.As(err, &device) {
			_ = raw.CloseSession(s)
			return err
		}
		p.put(s)
		return err
	})
}

func (p *sessions) take(raw *pkcs11.Ctx) (pkcs11.SessionHandle, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return s, nil
	}
	s, err := raw.OpenSession(p.core.info.Slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	return s, wrap("C_OpenSession", err)
}

func (p *sessions) put(s pkcs11.SessionHandle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, s)
}

// close waits for the users, logs out and closes the sessions. The logout is
// needed because the anchor may keep a session on the same token.
func (p *sessions) close() {
	for range cap(p.place) {
		p.place <- struct{}{}
	}
	close(p.done)
	_ = p.core.module.call(context.Background(), func(raw *pkcs11.Ctx) error {
		if s, err := p.take(raw); err == nil {
			if p.loggedIn {
				_ = raw.Logout(s)
			}
			p.put(s)
		}
		for _, s := range p.idle {
			_ = raw.CloseSession(s)
		}
		return nil
	})
	p.idle = nil
}
