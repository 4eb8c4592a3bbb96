// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"crypto"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"
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

// generation returns what to work with, unless this handle is closed.
func (h *handle) generation(ctx context.Context) (*generation, error) {
	if h.closed.Load() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return h.core.current()
}

// with runs f in a raw session.
func (h *handle) with(ctx context.Context, f func(v session) error) error {
	g, err := h.generation(ctx)
	if err != nil {
		return err
	}
	return g.plain.with(ctx, func(raw *pkcs11.Ctx, s pkcs11.SessionHandle) error {
		return f(session{raw: raw, handle: s, generation: g})
	})
}

// Info asks the token for its current description.
func (h *handle) Info(ctx context.Context) (info TokenInfo, err error) {
	if _, err := h.generation(ctx); err != nil {
		return TokenInfo{}, err
	}
	m := h.core.module
	err = m.call(ctx, func(raw *pkcs11.Ctx) error {
		info, err = tokenInfo(raw, m.path, h.core.info.Slot)
		info.Mechanisms = h.Mechanisms()
		return err
	})
	return info, err
}

// Mechanisms returns the list read when the token was opened.
func (h *handle) Mechanisms() Mechanisms { return slices.Clone(h.core.info.Mechanisms) }

// Random returns n bytes from the token's generator.
func (h *handle) Random(ctx context.Context, n int) (b []byte, err error) {
	if n <= 0 {
		return []byte{}, nil
	}
	err = h.with(ctx, func(v session) error {
		b, err = v.raw.GenerateRandom(v.handle, n)
		return wrap("C_GenerateRandom", err)
	})
	return b, err
}

// SetPIN changes the user PIN.
func (h *handle) SetPIN(ctx context.Context, oldPIN, newPIN []byte) error {
	h.core.module.life.Lock()
	defer h.core.module.life.Unlock()
	if !h.core.knows(oldPIN) {
		return &Error{Op: "C_SetPIN", Code: ckrPINIncorrect}
	}
	err := h.with(ctx, func(v session) error {
		return wrap("C_SetPIN", v.raw.SetPIN(v.handle, string(oldPIN), string(newPIN)))
	})
	if err == nil {
		h.core.remember(newPIN)
	}
	return err
}

// Signer returns a signer for the key with that CKA_ID.
func (h *handle) Signer(ctx context.Context, id []byte, public crypto.PublicKey) (*Signer, error) {
	g, err := h.generation(ctx)
	if err != nil {
		return nil, err
	}
	s := &Signer{id: slices.Clone(id), public: public, token: h}
	if h.signsDigests(s) {
		_, err = g.signer(id, public)
		return s, err
	}
	// The public half is then proved by whoever verifies the first signature.
	err = h.with(ctx, func(v session) error {
		_, err := g.privateKey(v.raw, v.handle, id)
		return err
	})
	return s, err
}

// signsDigests reports whether crypto11 can sign with the key, which it does
// with the mechanisms that take a digest.
func (h *handle) signsDigests(s *Signer) bool {
	have := h.core.info.Mechanisms
	return have.Has(signRequest{}.rawMechanism(s.public)) || have.Has(signRequest{pss: true}.rawMechanism(s.public))
}

// sign implements signingToken.
func (h *handle) sign(ctx context.Context, k *Signer, r signRequest) ([]byte, error) {
	g, err := h.generation(ctx)
	if err != nil {
		return nil, err
	}
	return g.sign(ctx, k, r)
}
