// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"
)

// A module is one PKCS#11 library of this process. C_Initialize, C_Finalize and
// the login of a token are shared by everybody who uses the library, so they
// have one owner, found by the canonical path of the file. In a process of its own
// the library has them for itself, so that counts as another module. A library
// that somebody else in this process has initialised is not opened: he may
// finalise it at any time.
type module struct {
	path string
	host string // the program it runs in; empty if that is this process

	// life is held, with a value in it, by who starts, stops, opens or closes anything.
	life  chan struct{}
	users int // opened tokens and those being opened
	cores map[*core]struct{}

	// separate is whether every loader gets an instance of its own in this process.
	separate func() bool

	running atomic.Pointer[instance] // nil unless the module is running

	slots slotLock // of the library in this process

	hangs atomic.Uint64 // hosts that were ended because a call hung in them
}

// An instance is the library from C_Initialize to C_Finalize. Sessions and
// handles of one mean something else, or nothing, to the next.
type instance struct {
	raw  library
	gate gate // around every call of raw
}

// finalise ends the library. Nobody may be inside.
func (i *instance) finalise() {
	_ = i.raw.Finalize()
	i.raw.Destroy()
}

// call runs f inside the library.
func (i *instance) call(f func(raw library) error) error {
	if i == nil || !i.gate.enter() {
		return errNotRunning
	}
	defer i.gate.leave()
	return f(i.raw)
}

// drainTime bounds the wait for calls inside a module that is to be finalised.
const drainTime = 2 * time.Second

var modules = struct {
	sync.Mutex
	byPath map[place]*module
}{byPath: map[place]*module{}}

// A place is where a module is: its canonical path, and the program it runs in.
type place struct{ path, host string }

// moduleFor returns the one module of a library file in a host, empty for none.
// It does not load it.
func moduleFor(path, host string) (*module, error) {
	if path == "" {
		return nil, errors.New("no PKCS#11 module given")
	}
	canonical, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("PKCS#11 module: %w", err)
	}
	if info, err := os.Stat(canonical); err != nil || info.IsDir() {
		return nil, fmt.Errorf("PKCS#11 module %s is not a file", path)
	}
	if canonical, err = filepath.Abs(canonical); err != nil {
		return nil, fmt.Errorf("PKCS#11 module: %w", err)
	}
	modules.Lock()
	defer modules.Unlock()
	at := place{canonical, host}
	m := modules.byPath[at]
	if m == nil {
		m = &module{path: canonical, host: host, life: make(chan struct{}, 1), cores: map[*core]struct{}{}}
		m.separate = sync.OnceValue(func() bool { return separate(canonical) })
		modules.byPath[at] = m
	}
	return m, nil
}

// lock takes life, unless ctx ends first.
func (m *module) lock(ctx context.Context) error {
	select {
	case m.life <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m *module) unlock() { <-m.life }

// acquire makes sure the module runs and keeps it running until release.
func (m *module) acquire(ctx context.Context, log *slog.Logger) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	if m.running.Load().isGone() {
		if err := m.stop(); err != nil {
			return err
		}
	}
	if m.running.Load() == nil {
		if err := m.start(log); err != nil {
			return err
		}
	}
	m.users++
	return nil
}

// release undoes one acquire.
func (m *module) release() {
	m.life <- struct{}{}
	defer m.unlock()
	m.releaseLocked()
}

// releaseLocked stops the module with its last user. A module with a hung call
// inside cannot be stopped; it is left as it is, for the next acquire.
func (m *module) releaseLocked() {
	if m.users--; m.users == 0 && m.running.Load() != nil {
		_ = m.stop()
	}
}

// load loads the library, into this process or into one of its own.
func (m *module) load(log *slog.Logger) (library, error) {
	if m.host != "" {
		return startHost(m, log)
	}
	return link(m.path, &m.slots)
}

// link loads a library into this process, which has one lock for its slots.
func link(path string, slots *slotLock) (library, error) {
	raw := pkcs11.New(path)
	if raw == nil {
		return nil, fmt.Errorf("PKCS#11 module %s cannot be loaded", path)
	}
	return linked{raw, slots}, nil
}

// start loads and initialises the library.
func (m *module) start(log *slog.Logger) error {
	raw, err := m.load(log)
	if err != nil {
		return err
	}
	if err := wrap("C_Initialize", raw.Initialize()); err != nil {
		raw.Destroy()
		return err
	}
	i := &instance{raw: raw}
	i.gate.admit()
	m.running.Store(i)
	m.watch(i)
	return nil
}

// errInside is returned for a module that cannot be finalised.
var errInside = errors.New("a call hangs inside the PKCS#11 module")

// stop finalises the library, unless a call is inside. A library of which the
// next loader gets another instance need not wait for that: the call keeps the
// instance it is in, which is finalised if it ever returns.
func (m *module) stop() error {
	switch i := m.running.Load(); {
	case i.process() != nil:
		if !i.gate.shut(drainTime) {
			i.process().end(errStopped) // and with it the call inside
		}
		i.finalise()
	case m.separate():
		i.gate.retire(i.finalise)
	case !i.gate.shut(drainTime):
		return errInside
	default:
		i.finalise()
	}
	m.running.Store(nil)
	return nil
}

// restart finalises and initialises the library for a token that cannot be
// opened again with the instance it failed with; if that is not the running one,
// somebody else has done it. It is refused while another token of the module is
// well, because it would lose its sessions, unless those are gone anyway.
func (m *module) restart(ctx context.Context, failed *instance, log *slog.Logger) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.unlock()
	running := m.running.Load()
	if running != nil && running != failed {
		return nil
	}
	for c := range m.cores {
		if c.refs > 0 && c.state() == Ready && !running.isGone() {
			return fmt.Errorf("PKCS#11 module is kept initialised for token %q", c.info.Label)
		}
	}
	if running != nil {
		log.Info("p11: finalising and initialising the PKCS#11 module", "module", m.path)
		if err := m.stop(); err != nil {
			return err
		}
	}
	return m.start(log)
}

// call runs f inside the library.
func (m *module) call(ctx context.Context, f func(raw library) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.running.Load().call(f)
}

// errNotRunning is the answer of a module that is being stopped or started. A
// token that meets it is lost.
var errNotRunning = &Error{Op: "C_Initialize", Code: ckrNotInitialized}

// manage runs f with the library initialised: inside the running module, or in
// a window of its own. The caller holds life.
func (m *module) manage(ctx context.Context, f func(raw library) error) error {
	if i := m.running.Load(); i != nil && !i.isGone() {
		return m.call(ctx, f)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.window(f)
}

// window initialises the library, runs f and finalises it. Nobody else may be
// using the module.
func (m *module) window(f func(raw library) error) error {
	raw, err := m.load(nil)
	if err != nil {
		return err
	}
	defer raw.Destroy()
	switch err := wrap("C_Initialize", raw.Initialize()); {
	case err == nil:
		defer func() { _ = raw.Finalize() }()
	case codeOf(err) != ckrAlreadyInitialized:
		return err
	}
	return f(raw)
}
