// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"
)

// A module is one PKCS#11 library of this process. C_Initialize, C_Finalize and
// the login of a token are shared by everybody who uses the library, so they
// have one owner, found by the canonical path of the file.
//
// crypto11 must be the one that calls C_Initialize, and calls C_Finalize with
// its last Context. The anchor is a Context that does nothing else than hold
// the module initialised while the Contexts of tokens come and go. The raw
// context shares that state and never initialises or finalises while the
// anchor stands.
type module struct {
	path string

	// life serialises everything that starts, stops, opens or closes.
	life   sync.Mutex
	users  int            // opened tokens and those being opened
	cores  map[uint]*core // by slot
	anchor *crypto11.Context

	// calls is held for reading while a raw call is inside the library and for
	// writing while the library may be finalised: a call that meets
	// C_Finalize crashes the process.
	calls sync.RWMutex
	raw   *pkcs11.Ctx // nil unless the module is running
}

var modules = struct {
	sync.Mutex
	byPath map[string]*module
}{byPath: map[string]*module{}}

// moduleFor returns the one module of a library file. It does not load it.
func moduleFor(path string) (*module, error) {
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
	m := modules.byPath[canonical]
	if m == nil {
		m = &module{path: canonical, cores: map[uint]*core{}}
		modules.byPath[canonical] = m
	}
	return m, nil
}

// acquire makes sure the module runs and keeps it running until release.
// The selector names a token to hold the anchor's session on.
func (m *module) acquire(sel Selector) error {
	m.life.Lock()
	defer m.life.Unlock()
	if m.users == 0 {
		if err := m.start(sel); err != nil {
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

func (m *module) releaseLocked() {
	if m.users--; m.users == 0 {
		m.stop()
	}
}

func (m *module) start(sel Selector) error {
	cfg, err := m.anchorConfig(sel)
	if err != nil {
		return err
	}
	anchor, err := crypto11.Configure(cfg)
	if err != nil {
		return m.explain(sel, err)
	}
	raw := pkcs11.New(m.path) // shares what the anchor initialised
	if raw == nil {
		_ = anchor.Close()
		return fmt.Errorf("PKCS#11 module %s cannot be loaded", m.path)
	}
	m.calls.Lock()
	defer m.calls.Unlock()
	m.anchor, m.raw = anchor, raw
	return nil
}

// anchorConfig says where the anchor holds its session. crypto11 takes one
// property of a token only, and the first token that has it.
func (m *module) anchorConfig(sel Selector) (*crypto11.Config, error) {
	cfg := &crypto11.Config{Path: m.path, MaxSessions: 2, LoginNotSupported: true}
	switch {
	case sel.Slot != nil:
		slot := int(*sel.Slot)
		cfg.SlotNumber = &slot
	case sel.Serial != "":
		cfg.TokenSerial = sel.Serial
	case sel.Label != "":
		cfg.TokenLabel = sel.Label
	default:
		info, err := m.only(sel)
		if err != nil {
			return nil, err
		}
		slot := int(info.Slot)
		cfg.SlotNumber = &slot
	}
	return cfg, nil
}

// only returns the one token that matches, with the module not running.
func (m *module) only(sel Selector) (info TokenInfo, err error) {
	err = m.window(func(raw *pkcs11.Ctx) error {
		found, err := listTokens(raw, m.path)
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

// stop closes the anchor, and with it finalises the library.
func (m *module) stop() {
	m.calls.Lock()
	defer m.calls.Unlock()
	m.raw.Destroy()
	m.raw = nil
	_ = m.anchor.Close()
	m.anchor = nil
}

// call runs f inside the library.
func (m *module) call(ctx context.Context, f func(raw *pkcs11.Ctx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.calls.RLock()
	defer m.calls.RUnlock()
	if m.raw == nil {
		return ErrClosed
	}
	return f(m.raw)
}

// manage runs f with the library initialised: inside the running module, or in
// a window of its own. The caller holds life.
func (m *module) manage(ctx context.Context, f func(raw *pkcs11.Ctx) error) error {
	if m.users > 0 {
		return m.call(ctx, f)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.window(f)
}

// window initialises the library, runs f and finalises it. Nobody else may be
// using the module.
func (m *module) window(f func(raw *pkcs11.Ctx) error) error {
	raw := pkcs11.New(m.path)
	if raw == nil {
		return fmt.Errorf("PKCS#11 module %s cannot be loaded", m.path)
	}
	defer raw.Destroy()
	if err := raw.Initialize(); err != nil {
		return wrap("C_Initialize", err)
	}
	defer func() { _ = raw.Finalize() }()
	return f(raw)
}
