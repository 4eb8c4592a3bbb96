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

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"
)

// A module is one PKCS#11 library of this process. C_Initialize, C_Finalize and
// the login of a token are shared by everybody who uses the library, so they
// have one owner, found by the canonical path of the file. In a process of its own
// the library has them for itself, so that counts as another module.
//
// crypto11 must be the one that calls C_Initialize, and calls C_Finalize with
// its last Context. The anchor is a Context that does nothing else than hold
// the module initialised. The raw context shares that state. Two kinds of
// module have it otherwise: those that give every loader an instance of its own
// (p11-kit-client), and those whose token has one session, which crypto11 cannot
// use. Of these the raw context is initialised and finalised here.
type module struct {
	path string
	host string // the program it runs in; empty if that is this process

	// life serialises everything that starts, stops, opens or closes.
	life   sync.Mutex
	users  int // opened tokens and those being opened
	cores  map[*core]struct{}
	anchor *crypto11.Context // nil if crypto11 cannot use the module
	alone  bool              // whether crypto11 has been found unable to use it

	running atomic.Pointer[instance] // nil unless the module is running

	slots slotLock // of the library in this process

	hangs atomic.Uint64 // hosts that were ended because a call hung in them
}

// An instance is the library from C_Initialize to C_Finalize. Sessions and
// handles of one mean something else, or nothing, to the next.
type instance struct {
	raw      library
	gate     gate // around every call of raw
	own      bool // whether raw is to be finalised here
	separate bool // whether the library gives every loader an instance of its own
	anchored bool // whether crypto11 works on the same state
}

// finalise ends the library. Nobody may be inside.
func (i *instance) finalise() {
	if i.own {
		_ = i.raw.Finalize()
	}
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
		m = &module{path: canonical, host: host, cores: map[*core]struct{}{}}
		modules.byPath[at] = m
	}
	return m, nil
}

// acquire makes sure the module runs and keeps it running until release.
// The selector names a token to hold the anchor's session on.
func (m *module) acquire(sel Selector, log *slog.Logger) error {
	m.life.Lock()
	defer m.life.Unlock()
	if m.running.Load().isGone() {
		if err := m.stop(); err != nil {
			return err
		}
	}
	if m.running.Load() == nil {
		if err := m.start(sel, log); err != nil {
			return err
		}
	}
	m.users++
	return nil
}

// release undoes one acquire.
func (m *module) release() {
	m.life.Lock()
	defer m.life.Unlock()
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
func (m *module) start(sel Selector, log *slog.Logger) error {
	anchor, err := m.newAnchor(sel)
	if err != nil {
		return err
	}
	raw, err := m.load(log)
	if err != nil {
		closeAnchor(anchor)
		return err
	}
	own, err := initialize(raw)
	if err != nil {
		raw.Destroy()
		closeAnchor(anchor)
		return err
	}
	i := &instance{raw: raw, own: own || m.alone, separate: own && anchor != nil, anchored: !own && anchor != nil}
	i.gate.admit()
	m.anchor = anchor
	m.running.Store(i)
	m.watch(i)
	return nil
}

// newAnchor returns the crypto11 Context that holds the module initialised, nil
// if crypto11 cannot use it, as one in another process. Having found that out,
// crypto11 keeps a reference to the module, so it is not asked a second time.
func (m *module) newAnchor(sel Selector) (*crypto11.Context, error) {
	if m.alone || m.host != "" {
		return nil, nil
	}
	cfg, err := m.anchorConfig(sel)
	if err != nil {
		return nil, err
	}
	anchor, err := m.configure(cfg)
	switch {
	case errors.Is(err, errOneSession):
		m.alone = true
		return nil, nil
	case err != nil:
		return nil, m.explain(sel, err)
	}
	return anchor, nil
}

// initialize reports whether the raw context got an instance of its own.
func initialize(raw library) (own bool, err error) {
	err = wrap("C_Initialize", raw.Initialize())
	if codeOf(err) == ckrAlreadyInitialized {
		return false, nil
	}
	return err == nil, err
}

// errOneSession stands for crypto11's panic at a token with a single session.
var errOneSession = errors.New("crypto11 needs two sessions")

// configure is crypto11.Configure, which lists the slots, without its panic.
func (m *module) configure(cfg *crypto11.Config) (c *crypto11.Context, err error) {
	defer func() {
		if recover() != nil {
			c, err = nil, errOneSession
		}
	}()
	m.slots.RLock()
	defer m.slots.RUnlock()
	return crypto11.Configure(cfg)
}

func closeAnchor(anchor *crypto11.Context) {
	if anchor != nil {
		_ = anchor.Close()
	}
}

// anchorConfig says where the anchor holds its session. crypto11 takes one
// property of a token only, and the first token that has it.
func (m *module) anchorConfig(sel Selector) (*crypto11.Config, error) {
	cfg := m.crypto11Config()
	switch {
	case sel.Slot != nil:
		return m.slotConfig(*sel.Slot), nil
	case sel.Serial != "":
		cfg.TokenSerial = sel.Serial
	case sel.Label != "":
		cfg.TokenLabel = sel.Label
	default:
		info, err := m.only(sel)
		if err != nil {
			return nil, err
		}
		return m.slotConfig(info.Slot), nil
	}
	return cfg, nil
}

// crypto11Config is for a Context that needs a session now and then, and shares
// the login. It names no token yet.
func (m *module) crypto11Config() *crypto11.Config {
	return &crypto11.Config{Path: m.path, MaxSessions: 2, LoginNotSupported: true}
}

// slotConfig is crypto11Config for the token in a slot.
func (m *module) slotConfig(slot uint) *crypto11.Config {
	cfg, number := m.crypto11Config(), int(slot)
	cfg.SlotNumber = &number
	return cfg
}

// only returns the one token that matches, with the module not running.
func (m *module) only(sel Selector) (info TokenInfo, err error) {
	err = m.window(func(raw library) error {
		found, err := m.list(raw)
		if err != nil {
			return err
		}
		info, err = chooseToken(m.path, sel, found)
		return err
	})
	return info, err
}

// explain turns crypto11's refusal to start into the reason.
func (m *module) explain(sel Selector, cause error) error {
	var absent *TokenError
	if _, err := m.only(sel); errors.As(err, &absent) {
		return absent
	}
	if err := wrap("C_Initialize", cause); !errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("PKCS#11 module %s: %w", m.path, cause)
}

// errInside is returned for a module that cannot be finalised.
var errInside = errors.New("a call hangs inside the PKCS#11 module")

// stop finalises the library, unless a call is inside. A library of which the
// next loader gets another instance need not wait for that: the call keeps the
// instance it is in, which is finalised if it ever returns.
func (m *module) stop() error {
	switch i := m.running.Load(); {
	case i.separate:
		i.gate.retire(i.finalise)
	case i.process() != nil:
		if !i.gate.shut(drainTime) {
			i.process().end(errStopped) // and with it the call inside
		}
		i.finalise()
	case !i.gate.shut(drainTime):
		return errInside
	default:
		i.finalise()
	}
	m.running.Store(nil)
	closeAnchor(m.anchor)
	m.anchor = nil
	return nil
}

// restart finalises and initialises the library for a token that cannot be
// opened again with the instance it failed with; if that is not the running one,
// somebody else has done it. It is refused while another token of the module is
// well, because it would lose its sessions, unless those are gone anyway.
func (m *module) restart(sel Selector, failed *instance, log *slog.Logger) error {
	m.life.Lock()
	defer m.life.Unlock()
	running := m.running.Load()
	if running != nil && running != failed {
		return nil
	}
	for c := range m.cores {
		if c.state() == Ready && !running.isGone() {
			return fmt.Errorf("PKCS#11 module is kept initialised for token %q", c.info.Label)
		}
	}
	if running != nil {
		log.Info("p11: finalising and initialising the PKCS#11 module", "module", m.path)
		if err := m.stop(); err != nil {
			return err
		}
	}
	return m.start(sel, log)
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
	own, err := initialize(raw)
	if err != nil {
		return err
	}
	if own {
		defer func() { _ = raw.Finalize() }()
	}
	return f(raw)
}
