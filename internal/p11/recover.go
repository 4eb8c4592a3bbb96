// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Recovery. A token that loses its sessions says so in the error of an ordinary
// call; nothing is polled. The generation is then taken out, one goroutine makes
// another, and callers wait for it, at most for Config.Hold. Signatures and
// questions are then asked again. Writes are not: whether they happened is for
// the caller to look up.

// errLost is what a job gets whose generation is taken out before it ran.
var errLost = errors.New("token lost its sessions")

// lostCodes say for certain that the sessions or the login are gone.
var lostCodes = []uint{
	ckrSlotIDInvalid, ckrDeviceError, ckrDeviceRemoved, ckrSessionClosed, ckrSessionHandleInvalid,
	ckrTokenNotPresent, ckrTokenNotRecognized, ckrUserNotLoggedIn, ckrNotInitialized,
}

// suspectCodes may say the same, or that something is wrong with one operation;
// handleCodes, or that something is wrong with one key.
var (
	suspectCodes = []uint{ckrGeneralError, ckrFunctionFailed, ckrOperationActive}
	handleCodes  = []uint{ckrKeyHandleInvalid, ckrObjectHandleInvalid}
)

func isLost(err error) bool {
	return errors.Is(err, errLost) || slices.Contains(lostCodes, codeOf(err))
}

func isSuspect(err error) bool {
	return slices.Contains(suspectCodes, codeOf(err)) || slices.Contains(handleCodes, codeOf(err))
}

const (
	// suspectInterval is how often an ambiguous error may be taken for an
	// outage: one bad key must not restart everybody.
	suspectInterval = 5 * time.Second

	firstPause = 10 * time.Millisecond
	lastPause  = 250 * time.Millisecond

	// longLife is how long a generation must have lived to be replaced at once.
	longLife = time.Second

	// gentleTries is how often the sessions alone are opened again before the
	// whole module is initialised again.
	gentleTries = 3
)

// attempt runs f on the present generation and, if the token was lost, on the
// next ones, until Config.Hold has passed. Without again that is done only if f
// did not reach the token. It is given up when ctx ends, or when it is late, which a
// zero time never is.
func (c *core) attempt(ctx context.Context, late time.Time, again bool, f func(g *generation) error) error {
	var deadline time.Time
	suspected := false
	for {
		g, err := c.ready(ctx, late)
		if err != nil {
			return err
		}
		if err = f(g); err == nil || isCause(ctx, err) {
			return err
		}
		c.count.failed(err)
		switch {
		case isLost(err):
			c.lose(g, err)
		case isSuspect(err) && !suspected:
			// Once more, in another session and with handles found anew.
			suspected = true
			g.forget()
		case isSuspect(err) && c.maySuspect():
			c.lose(g, err)
		default:
			return err
		}
		if !again && !errors.Is(err, errLost) {
			return err
		}
		if deadline.IsZero() {
			deadline = time.Now().Add(c.cfg.Hold)
		}
		if time.Now().After(deadline) {
			return c.unavailable(err)
		}
	}
}

// isCause reports whether err is why ctx has ended. That may be the error of another
// call, or of another token, and says nothing about this one.
func isCause(ctx context.Context, err error) bool {
	cause := context.Cause(ctx)
	return cause != nil && errors.Is(err, cause)
}

// maySuspect reports whether an ambiguous error may count as an outage now.
func (c *core) maySuspect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.suspects) < suspectInterval {
		return false
	}
	c.suspects = time.Now()
	return true
}

// ready returns the present generation, waiting for it while one is being made.
func (c *core) ready(ctx context.Context, late time.Time) (*generation, error) {
	if g := c.generation.Load(); g != nil {
		return g, nil
	}
	hold := time.After(max(c.cfg.Hold, 0))
	var tooLate <-chan time.Time
	if !late.IsZero() {
		tooLate = time.After(time.Until(late))
	}
	for {
		c.mu.Lock()
		state, reason, changed := c.st, c.reason, c.changed
		c.mu.Unlock()
		if g := c.generation.Load(); g != nil {
			return g, nil
		}
		switch state {
		case Closed:
			return nil, ErrClosed
		case Failed:
			return nil, &UnavailableError{State: Failed, Err: reason}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), &UnavailableError{State: Recovering, Err: reason})
		case <-tooLate:
			return nil, errors.Join(ErrBusy, &UnavailableError{State: Recovering, Err: reason})
		case <-hold:
			return nil, c.unavailable(reason)
		case <-c.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// lose takes a generation out and starts making the next. Only the first of
// many callers with the same bad news does anything.
func (c *core) lose(g *generation, cause error) {
	c.mu.Lock()
	took := c.ctx.Err() == nil && c.generation.CompareAndSwap(g, nil)
	if took {
		c.builds.Add(1)
	}
	c.mu.Unlock()
	if took {
		c.replace(g, cause)
	}
}

// replace makes the next generation, in a goroutine that is counted already.
func (c *core) replace(old *generation, cause error) {
	c.set(Recovering, cause)
	go func() {
		defer c.builds.Done()
		c.rebuild(old, cause)
	}()
}

// rebuild makes generations until one is well, or a PIN is refused. The old one
// is closed first: its session numbers may soon be those of the new.
func (c *core) rebuild(old *generation, cause error) {
	failed := c.module.running.Load()
	if old != nil {
		failed = old.pool.instance
		old.close()
	}
	for try := 0; ; try++ {
		// A library that is found dead by the first try is not worth a pause.
		if atOnce := try == 1 && isDead(cause); !atOnce && !c.rest(try) {
			return
		}
		if try >= gentleTries || isDead(cause) {
			if err := c.module.restart(c.ctx, failed, c.log); err != nil {
				c.reasoned(err)
			}
		}
		failed = c.module.running.Load()
		if cause = c.renew(); cause == nil || c.ctx.Err() != nil {
			return
		}
		if isPINError(cause) {
			c.set(Failed, cause)
			return
		}
		c.reasoned(cause)
	}
}

// isDead reports whether the library as a whole does not work, not only the
// sessions of one token: it says so, or cannot even list its slots.
func isDead(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Code == ckrNotInitialized || e.Op == "C_GetSlotList" && isLost(err))
}

// rest waits between tries, and before the first one if the last generation
// did not live long. It returns false when the token is closed.
func (c *core) rest(try int) bool {
	c.mu.Lock()
	if try == 0 && time.Since(c.born) > longLife {
		c.pause = 0
	}
	pause := c.pause
	c.pause = min(max(2*c.pause, firstPause), lastPause)
	c.mu.Unlock()
	select {
	case <-time.After(pause):
		return c.ctx.Err() == nil
	case <-c.ctx.Done():
		return false
	}
}

// renew makes one try at a new generation.
func (c *core) renew() error {
	info, err := c.module.choose(c.ctx, c.selector())
	if err != nil {
		return err
	}
	pin, err := askPIN(c.ctx, c.cfg, info)
	if err != nil {
		return err
	}
	defer clear(pin)
	ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Timeout)
	defer cancel()
	g, err := c.build(ctx, info.Slot, pin)
	if err != nil {
		return err
	}
	if err := c.probe.Load().try(ctx, g); c.isUnwell(err) {
		g.close()
		return err
	}
	c.remember(pin)
	c.publish(g)
	return nil
}

// isUnwell reports whether a new generation whose probe ended so is not good
// enough. An error that may be the key's alone is put up with after a while: the
// token may have other keys.
func (c *core) isUnwell(err error) bool {
	if isLost(err) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(suspectCodes, codeOf(err)) && time.Since(c.outage.Start) < c.cfg.Hold
}

// publish makes a generation the present one.
func (c *core) publish(g *generation) {
	c.mu.Lock()
	c.born = time.Now()
	c.mu.Unlock()
	c.generation.Store(g)
	c.set(Ready, nil)
}

// reopen starts again after a failure for good. Of many who ask for it only the
// first does that: each start may spend a try of the PIN.
func (c *core) reopen(ctx context.Context) error {
	c.mu.Lock()
	reason, failed := c.reason, c.st == Failed && c.ctx.Err() == nil
	if failed {
		c.st = Recovering
		c.builds.Add(1)
	}
	c.mu.Unlock()
	if failed {
		c.replace(nil, reason)
	}
	_, err := c.ready(ctx, time.Time{})
	return err
}
