// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Config.
const (
	defaultSessions = 8
	defaultQueue    = 4096
	defaultHold     = 5 * time.Second
	defaultTimeout  = 10 * time.Second
)

// A core is one token of this process, shared by all who opened it. It has a
// generation while the token is well; recover.go says how it gets another.
type core struct {
	module   *module
	cfg      Config
	info     TokenInfo // as it was when opened
	sessions int       // how many calls may be in the token at once
	signing  admission // how many of them may be signatures
	log      *slog.Logger
	refs     int // guarded by module.life

	pinMu        sync.Mutex
	salt, pinSum [32]byte // to recognise the PIN without keeping it
	proven       bool     // whether the token has accepted it
	refused      [32]byte // as pinSum, of one that it accepts no more

	again sync.Mutex // held by who gives the PIN for one signature

	generation atomic.Pointer[generation] // nil while there is none

	objects chan struct{} // held by whoever reads or writes objects

	mu       sync.Mutex // guards what follows
	st       State
	since    time.Time
	reason   error         // why it is not ready
	changed  chan struct{} // closed and replaced with every change of state
	outage   Outage        // the present or the last
	outages  uint64
	suspects time.Time // when an ambiguous error was last taken for an outage
	watchers map[*watcher]struct{}

	born  time.Time     // of the present generation
	pause time.Duration // before the next one

	probe  atomic.Pointer[probe]
	health health

	quit   context.CancelFunc // ends the rebuilding; called with mu held
	ctx    context.Context
	builds sync.WaitGroup // added to with mu held and before quit
	gone   chan struct{}  // closed when the token has been given back

	count counters
}

func newCore(m *module, cfg Config, info TokenInfo) *core {
	measured := cfg.Sessions <= 0
	if measured {
		cfg.Sessions = max(defaultSessions, processors())
	}
	if cfg.Queue <= 0 {
		cfg.Queue = defaultQueue
	}
	if cfg.Hold == 0 {
		cfg.Hold = defaultHold
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &core{module: m, cfg: cfg, info: info, sessions: cfg.Sessions, refs: 1, changed: make(chan struct{}), gone: make(chan struct{}), objects: make(chan struct{}, 1)}
	c.health.turn = make(chan struct{}, 1)
	c.signing.measured = measured
	c.log = cfg.Logger.With("token", info.Label, "serial", info.Serial)
	if limit := info.MaxSessions; limit > 0 {
		c.sessions = min(c.sessions, limit)
	}
	c.ctx, c.quit = context.WithCancel(context.Background())
	return c
}

func (c *core) remember(pin []byte) {
	c.pinMu.Lock()
	defer c.pinMu.Unlock()
	_, _ = rand.Read(c.salt[:]) // never fails, by its documentation
	c.pinSum = c.sum(pin)
	c.proven = true
}

func (c *core) knows(pin []byte) bool {
	c.pinMu.Lock()
	defer c.pinMu.Unlock()
	sum := c.sum(pin)
	return subtle.ConstantTimeCompare(sum[:], c.pinSum[:]) == 1
}

// mayTry reports whether a PIN is known and the token has not refused it since.
func (c *core) mayTry(pin []byte) bool {
	known := c.knows(pin)
	c.pinMu.Lock()
	defer c.pinMu.Unlock()
	return known && c.sum(pin) != c.refused
}

// refuse takes note of a PIN that was good once and is not any more.
func (c *core) refuse(pin []byte) {
	c.pinMu.Lock()
	defer c.pinMu.Unlock()
	c.refused = c.sum(pin)
}

func (c *core) sum(pin []byte) [32]byte {
	return sha256.Sum256(append(c.salt[:len(c.salt):len(c.salt)], pin...))
}

// close gives up one reference; the last one closes the sessions. Until that is done
// the token stays among those of the module: see [module.lockVacant].
func (c *core) close() {
	m := c.module
	m.life <- struct{}{}
	c.refs--
	last := c.refs == 0
	m.unlock()
	if last {
		c.end()
	}
	m.life <- struct{}{}
	defer m.unlock()
	if last {
		delete(m.cores, c)
		close(c.gone)
	}
	m.releaseLocked()
}

// end closes the sessions and logs out, for good.
func (c *core) end() {
	c.mu.Lock()
	c.quit()
	c.mu.Unlock()
	c.builds.Wait()
	if g := c.generation.Swap(nil); g != nil {
		g.close()
	}
	c.set(Closed, ErrClosed)
}

// selector names the token as it was opened, whatever slot it is in now.
func (c *core) selector() Selector {
	return Selector{Label: c.info.Label, Serial: c.info.Serial}
}
