// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// boundSigner is the key of one handshake. It implements only Public and Sign,
// so that crypto/tls can neither decrypt with the key nor find anything else,
// refuses hashes outside the policy before the key is asked, and gives up with
// the handshake: crypto/tls waits for a signer without limit.
type boundSigner struct {
	key     crypto.Signer
	ctx     context.Context // the handshake's
	limit   time.Duration
	slots   chan struct{} // bounds the signatures under way, abandoned ones included
	observe func(error)   // told of every result, may be nil
	p       *Provider
	alias   string
	admit   func() error // asked before the key is, may be nil
}

var (
	_ crypto.Signer        = (*boundSigner)(nil)
	_ crypto.MessageSigner = (*boundMessageSigner)(nil)
)

// boundMessageSigner is a boundSigner whose key signs whole messages.
type boundMessageSigner struct {
	boundSigner
	key crypto.MessageSigner
}

// A contextSigner gives up by itself when ctx ends, as a keystore.Key does, and does
// not use digest after that. It needs no goroutine to be waited for in.
type contextSigner interface {
	SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

// A contextMessageSigner is the same for whole messages.
type contextMessageSigner interface {
	SignMessageContext(ctx context.Context, message []byte, opts crypto.SignerOpts) ([]byte, error)
}

// bind returns key for the handshake of ctx; a [crypto.MessageSigner] stays one.
func (p *Provider) bind(ctx context.Context, alias string, key crypto.Signer, admit func() error, observe func(error)) crypto.Signer {
	s := boundSigner{key: key, ctx: ctx, limit: p.signTimeout(), slots: p.state().signing, observe: observe, admit: admit, p: p, alias: alias}
	if m, ok := key.(crypto.MessageSigner); ok {
		return &boundMessageSigner{boundSigner: s, key: m}
	}
	return &s
}

// Public returns the public key, without asking the token.
func (s *boundSigner) Public() crypto.PublicKey { return s.key.Public() }

// Sign signs digest. It returns [ErrSignTimeout] or the context's error when
// the key does not answer in time; the key may then still be at work.
func (s *boundSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.run(opts, func(ctx context.Context) ([]byte, error) {
		if key, ok := s.key.(contextSigner); ok {
			return key.SignContext(ctx, digest, opts)
		}
		digest := bytes.Clone(digest) // the key may outlive this call
		return s.aside(ctx, func() ([]byte, error) { return s.key.Sign(rand, digest, opts) })
	})
}

// SignMessage signs msg, within the same bounds as Sign.
func (s *boundMessageSigner) SignMessage(rand io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.run(opts, func(ctx context.Context) ([]byte, error) {
		if key, ok := s.key.(contextMessageSigner); ok {
			return key.SignMessageContext(ctx, msg, opts)
		}
		msg := bytes.Clone(msg)
		return s.aside(ctx, func() ([]byte, error) { return s.key.SignMessage(rand, msg, opts) })
	})
}

func (s *boundSigner) run(opts crypto.SignerOpts, sign func(context.Context) ([]byte, error)) ([]byte, error) {
	began := time.Now()
	sig, err := s.checked(opts, sign)
	s.p.observeSignature(s.alias, began, err)
	if s.observe != nil {
		s.observe(err)
	}
	return sig, err
}

func (s *boundSigner) checked(opts crypto.SignerOpts, sign func(context.Context) ([]byte, error)) ([]byte, error) {
	if h := opts.HashFunc(); !slices.Contains(signatureHashes, h) {
		return nil, &PolicyError{Rule: RuleSignature, Detail: fmt.Sprintf("asked to sign with %v", h)}
	}
	if s.admit != nil {
		if err := s.admit(); err != nil {
			return nil, err
		}
	}
	return s.within(sign)
}

// within runs sign with the time that the limit and the handshake allow.
func (s *boundSigner) within(sign func(context.Context) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.limit, ErrSignTimeout)
	defer cancel()
	sig, err := sign(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, signCause(ctx)
	}
	return sig, err
}

// aside runs sign in a goroutine of its own and waits for it no longer than ctx.
func (s *boundSigner) aside(ctx context.Context, sign func() ([]byte, error)) ([]byte, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	type result struct {
		sig []byte
		err error
	}
	done := make(chan result, 1) // never blocks an abandoned signature
	go func() {
		defer func() { <-s.slots }()
		sig, err := sign()
		done <- result{sig, err}
	}()
	select {
	case r := <-done:
		return r.sig, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// signCause says why waiting ended: a deadline, whoever set it, is a timeout of
// the signature; a cancellation is the caller's own.
func signCause(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && !errors.Is(cause, ErrSignTimeout) {
		return fmt.Errorf("%w: %w", ErrSignTimeout, cause)
	}
	return cause
}
