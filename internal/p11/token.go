// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"bytes"
	"context"
	"crypto"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A handle is one opening of a token: the core is shared, Close is not.
type handle struct {
	core   *core
	closed atomic.Bool
	once   sync.Once
}

var _ Token = (*handle)(nil)

// Close gives the token back.
func (h *handle) Close() error {
	h.closed.Store(true)
	h.once.Do(h.core.close)
	return nil
}

// ask puts a question to the token in a session of the pool. A question that
// an outage swallowed is asked again.
func ask[T any](ctx context.Context, h *handle, f func(v session) (T, error)) (T, error) {
	return use(ctx, h, true, f)
}

// use runs f in a session of the pool. What f returns is looked at only if it
// has returned: a caller may leave before.
func use[T any](ctx context.Context, h *handle, again bool, f func(v session) (T, error)) (result T, err error) {
	if h.closed.Load() {
		return result, ErrClosed
	}
	err = h.core.attempt(ctx, time.Time{}, again, func(g *generation) error {
		out := new(T)
		err := g.pool.do(ctx, func(v session) (err error) {
			*out, err = f(v)
			return err
		})
		if err == nil {
			result = *out
		}
		return err
	})
	return result, err
}

// object is use for reading and writing objects.
func object[T any](ctx context.Context, h *handle, again bool, f func(v session) (T, error)) (T, error) {
	return exclusive(ctx, h, func() (T, error) { return use(ctx, h, again, f) })
}

// exclusive lets one caller at a time read and write objects: SoftHSM 2.6.1
// answers a reader with errors, or with too little, while it writes. Signatures do
// not wait for it.
func exclusive[T any](ctx context.Context, h *handle, f func() (T, error)) (none T, _ error) {
	select {
	case h.core.objects <- struct{}{}:
	case <-ctx.Done():
		return none, ctx.Err()
	}
	defer func() { <-h.core.objects }()
	return f()
}

// Info asks the token for its current description.
func (h *handle) Info(ctx context.Context) (TokenInfo, error) {
	return ask(ctx, h, func(v session) (TokenInfo, error) {
		info, err := tokenInfo(v.raw, h.core.module.path, v.pool.slot)
		info.Library = libraryName(v.raw)
		info.Mechanisms = h.Mechanisms()
		return info, err
	})
}

// Mechanisms returns the list read when the token was opened.
func (h *handle) Mechanisms() Mechanisms { return slices.Clone(h.core.info.Mechanisms) }

// can reports whether the token has a mechanism, without copying the list.
func (h *handle) can(m Mechanism) bool { return h.core.info.Mechanisms.Has(m) }

// Random returns n bytes from the token's generator.
func (h *handle) Random(ctx context.Context, n int) ([]byte, error) {
	if n <= 0 {
		return []byte{}, nil
	}
	return ask(ctx, h, func(v session) ([]byte, error) {
		b, err := v.raw.GenerateRandom(v.handle, n)
		return b, wrap("C_GenerateRandom", err)
	})
}

// SetPIN changes the user PIN.
func (h *handle) SetPIN(ctx context.Context, oldPIN, newPIN []byte) error {
	if h.closed.Load() {
		return ErrClosed
	}
	if !h.core.knows(oldPIN) {
		return &Error{Op: "C_SetPIN", Code: ckrPINIncorrect}
	}
	_, err := use(ctx, h, false, func(v session) (struct{}, error) {
		return struct{}{}, wrap("C_SetPIN", v.raw.SetPIN(v.handle, string(oldPIN), string(newPIN)))
	})
	if err == nil {
		h.core.remember(newPIN)
	}
	return err
}

// Signer returns a signer for the key with that CKA_ID.
func (h *handle) Signer(ctx context.Context, id []byte, public crypto.PublicKey) (*Signer, error) {
	s := &Signer{id: slices.Clone(id), public: public, token: h}
	_, err := ask(ctx, h, func(v session) (*privateKey, error) { return v.pool.generation.key(v, id) })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// sign implements signingToken. The message is copied, because the caller may
// leave before the token has read it.
func (h *handle) sign(ctx context.Context, k *Signer, r signRequest) (sig []byte, err error) {
	if h.closed.Load() {
		return nil, ErrClosed
	}
	c := h.core
	r.message = bytes.Clone(r.message)
	j := newSignature(k, r, c.cfg.Timeout)
	err = c.attempt(ctx, j.deadline, true, func(g *generation) error { return g.pool.perform(ctx, j) })
	if err == nil {
		sig = j.signature.result
		c.count.signatures.Add(1)
		c.remind(k, &r)
	}
	j.end(err)
	return sig, err
}

// remind keeps a signature that worked for the probe.
func (c *core) remind(k *Signer, r *signRequest) {
	if p := c.probe.Load(); p == nil || p.signer != k {
		c.probe.Store(&probe{signer: k, request: signRequest{hash: r.hash, pss: r.pss, message: r.message}})
	}
}

// Status says how the token is.
func (h *handle) Status() Status {
	if h.closed.Load() {
		return Status{State: Closed, Reason: ErrClosed}
	}
	return h.core.status()
}

// Watch calls f with every change.
func (h *handle) Watch(f func(Status)) (stop func()) { return h.core.watch(f) }

// Check proves that the token signs.
func (h *handle) Check(ctx context.Context, interval time.Duration) error {
	if h.closed.Load() {
		return ErrClosed
	}
	return h.core.check(ctx, interval)
}

// Reopen starts again after the token failed for good.
func (h *handle) Reopen(ctx context.Context) error {
	if h.closed.Load() {
		return ErrClosed
	}
	return h.core.reopen(ctx)
}

// confirm makes a write happen once. An error that leaves open whether it has
// happened is settled by looking; only what is not there is written again.
func confirm(write func() error, there func() (bool, error)) error {
	err := write()
	if !isLost(err) && !isSuspect(err) {
		return err
	}
	found, look := there()
	switch {
	case look != nil:
		return err
	case found:
		return nil
	}
	return write()
}
