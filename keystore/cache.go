// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// A cache keeps resolved identities by alias. The zero cache is empty and ready
// for use.
type cache struct {
	mu      sync.Mutex
	epoch   uint64 // counts what made kept identities doubtful
	kept    map[string]*Identity
	flights map[string]*flight

	watchers watchers // told of what drop and Refresh did
}

// A flight is a resolution under way.
type flight struct {
	done chan struct{}
	id   *Identity
	err  error
	left bool // the goroutine that asked gave up, which is its own affair
}

type resolver func(ctx context.Context, alias string) (*Identity, error)

// get returns what is kept, or asks resolve once for all who ask meanwhile.
func (c *cache) get(ctx context.Context, alias string, resolve resolver) (*Identity, error) {
	for {
		id, f, mine := c.join(alias)
		if id != nil {
			return id, nil
		}
		if mine {
			return c.fly(ctx, alias, f, resolve)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.done:
		}
		if !f.left {
			return f.id, f.err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// join returns what is kept, or the flight to wait for and whether it is the
// caller's to make.
func (c *cache) join(alias string) (id *Identity, f *flight, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id := c.kept[alias]; id != nil {
		return id, nil, false
	}
	if f := c.flights[alias]; f != nil {
		return nil, f, false
	}
	if c.flights == nil {
		c.kept, c.flights = map[string]*Identity{}, map[string]*flight{}
	}
	f = &flight{done: make(chan struct{}), err: errors.New("resolution was abandoned")}
	c.flights[alias] = f
	return nil, f, true
}

// fly resolves and keeps the result, unless it became doubtful meanwhile.
func (c *cache) fly(ctx context.Context, alias string, f *flight, resolve resolver) (*Identity, error) {
	epoch := c.now()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.flights[alias] == f {
			delete(c.flights, alias)
		}
		if f.err == nil && c.epoch == epoch {
			c.kept[alias] = f.id
		}
		close(f.done)
	}()
	f.id, f.err = resolve(ctx, alias)
	f.left = f.err != nil && ctx.Err() != nil
	return f.id, f.err
}

func (c *cache) now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// drop forgets everything, also what is being resolved.
func (c *cache) drop() {
	c.forget()
	c.watchers.tell()
}

func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.kept)
	clear(c.flights)
}

// doubt has what is being resolved not kept, nor waited for by anybody else.
func (c *cache) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.flights)
}

// put replaces what is kept for alias, nil for nothing, unless something made
// it doubtful since epoch, and reports whether it did.
func (c *cache) put(alias string, id *Identity, epoch uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.epoch != epoch:
		return false
	case id == nil:
		delete(c.kept, alias)
	default:
		c.kept[alias] = id
	}
	return true
}

func (c *cache) aliases() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.kept))
}

// Refresh resolves every identity that is kept again, so that what another
// process has written before comes into use. An identity that is gone or has become
// wrong is forgotten; one that could not be looked at, because the token does
// not answer, is kept. The error joins an [*Error] for each of either sort. At the
// end it tells those who [Store.Watch].
func (s *Store) Refresh(ctx context.Context) error {
	defer s.cache.watchers.tell()
	s.cache.doubt()
	var errs []error
	for _, alias := range s.cache.aliases() {
		err := s.reload(ctx, alias)
		wrap(&err, "refresh identity", alias)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// reload resolves an alias again, and once more if a write or another Refresh came
// in between.
func (s *Store) reload(ctx context.Context, alias string) error {
	for {
		epoch := s.cache.now()
		id, err := s.load(ctx, alias)
		if err != nil && !verdict(err) || s.cache.put(alias, id, epoch) {
			return err
		}
	}
}

// verdict reports whether an error is about what is on the token, not about
// reaching it.
func verdict(err error) bool {
	var chain *ChainError
	if errors.As(err, &chain) {
		return true
	}
	return slices.ContainsFunc([]error{ErrNotFound, ErrAmbiguous, ErrMismatch, ErrExtractable, ErrWeak, ErrUnsupported},
		func(sentinel error) bool { return errors.Is(err, sentinel) })
}
