// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"crypto/rand"
	"time"
)

// A probe is the last signature that was asked for, kept to find out whether
// the token still makes such signatures. Nothing less will do: a TPM whose
// device died goes on answering questions about itself.
type probe struct {
	signer  *Signer
	request signRequest // its input is replaced
}

// try makes a signature of a random value. Without a probe it asks for the
// session's state.
func (p *probe) try(ctx context.Context, g *generation) error {
	if p == nil {
		return g.pool.do(ctx, func(v session) error {
			_, err := v.raw.GetSessionInfo(v.handle)
			return wrap("C_GetSessionInfo", err)
		})
	}
	r := p.request
	_, _ = rand.Read(r.digest()) // never fails, by its documentation
	if r.message != nil {
		r.message = r.digest()
	}
	return g.pool.do(ctx, func(v session) error {
		_, err := g.sign(v, &signature{signer: p.signer, request: r})
		return err
	})
}

// health is the result of the last check, shared by all who ask within its age.
type health struct {
	turn chan struct{} // held by who finds it out
	at   time.Time
	err  error
}

// check proves that the token signs, at most once per interval however many
// ask.
func (c *core) check(ctx context.Context, interval time.Duration) error {
	select {
	case c.health.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-c.health.turn }()
	if !c.health.at.IsZero() && time.Since(c.health.at) < interval {
		return c.health.err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, ErrBusy)
	defer cancel()
	err := c.attempt(ctx, time.Time{}, true, func(g *generation) error { return c.probe.Load().try(ctx, g) })
	if ctx.Err() == nil || err == nil {
		c.health.at, c.health.err = time.Now(), err
	}
	return err
}
