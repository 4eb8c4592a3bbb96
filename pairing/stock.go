// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"sync"
)

// posKeyBits is the size of the keys the terminal makes for POS.
const posKeyBits = 2048

// A stock makes an RSA key ahead of time, because a terminal's processor may
// take seconds for one. It is safe for concurrent use.
type stock struct {
	generate func() (*rsa.PrivateKey, error)

	mu     sync.Mutex
	making *batch // the key being made or waiting to be taken; nil if none is wanted
	work   sync.WaitGroup
}

// A batch is one key.
type batch struct {
	done chan struct{}
	key  *rsa.PrivateKey
	err  error
}

func newStock() *stock {
	return &stock{generate: func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, posKeyBits) }}
}

// prepare begins to make a key unless there is one.
func (s *stock) prepare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch()
}

// batch needs the lock.
func (s *stock) batch() *batch {
	if s.making == nil {
		b := &batch{done: make(chan struct{})}
		s.making = b
		s.work.Go(func() {
			defer close(b.done)
			b.key, b.err = s.generate()
		})
	}
	return s.making
}

// take returns a key that nobody else gets.
func (s *stock) take(ctx context.Context) (*rsa.PrivateKey, error) {
	s.mu.Lock()
	b := s.batch()
	s.making = nil
	s.mu.Unlock()
	select {
	case <-b.done:
		return b.key, b.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// discard forgets a key that is not needed.
func (s *stock) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.making = nil
}

// wait returns when nothing is being made any more.
func (s *stock) wait() { s.work.Wait() }
