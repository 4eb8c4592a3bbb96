// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A job is one use of a session: a function, or a signature.
type job struct {
	run       func(v session) error // nil for a signature
	signature signature
	done      chan error // capacity 1
	deadline  time.Time  // of a signature
	abandoned bool       // guarded by the pool's mu
}

// A signature is one to make. It has everything that a session needs for it, so
// that nothing of the caller is touched when the caller has left.
type signature struct {
	signer  *Signer
	request signRequest
	room    [maxInput]byte
	result  []byte
}

// jobs that nobody uses. A signature is made in one of them, so as not to make
// garbage; one that was abandoned does not come back.
var jobs = sync.Pool{New: func() any {
	return &job{done: make(chan error, 1)}
}}

// newSignature returns a job to sign, which must be ended.
func newSignature(k *Signer, r signRequest, limit time.Duration) *job {
	j := jobs.Get().(*job)
	j.signature.signer, j.signature.request = k, r
	j.deadline = time.Now().Add(limit)
	return j
}

// end gives back a job whose last use ended with err.
func (j *job) end(err error) {
	if errors.Is(err, errAbandoned) {
		return
	}
	j.signature = signature{}
	jobs.Put(j)
}

// errAbandoned is returned by do, joined with the reason, when the call is
// still inside the module: what it does may still happen.
var errAbandoned = errors.New("left inside the module")

// do runs f in a session. It returns when f has, or when ctx ends.
func (p *pool) do(ctx context.Context, f func(v session) error) error {
	return p.perform(ctx, &job{run: f, done: make(chan error, 1)})
}

// perform has a job done. It returns when that is done, when ctx ends, or with
// ErrBusy when the job is late.
func (p *pool) perform(ctx context.Context, j *job) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := p.submit(j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return p.withdraw(j, context.Cause(ctx))
	}
}
