// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

// Package faultp11 is a PKCS#11 module that stands before a real one, counts
// what it is asked, and fails as a test tells it: an answer with any code or
// none at all, lost sessions, a token pulled out, a module that forgot
// C_Initialize, a slow or hanging device, a killed process. Nothing of the path
// to the token is replaced, so what is tested is what runs in the field.
//
//	m := faultp11.New(t)                        // before a SoftHSM of its own
//	token := hsmtest.Open(t, m.Config(t))
//	m.Fail("C_Sign", 2, faultp11.DeviceError)   // the next two signatures
//	...
//	t.Log(m.Calls("C_Sign"), m.CallTable())
//
// The module is C (faultp11.c) and is compiled when it is first used, by $CC or
// cc; $HSMTLS_FAULTP11 names one that was compiled before. It is steered through
// a file that every process with the module maps, so faults reach other
// processes (p11-kit server, openssl, a test binary run again) as they reach
// this one, and take effect with the next call.
//
// All methods are safe for concurrent use. Those that take the name of a
// function fail the test for one that is not counted, and belong into the
// test's goroutine for that reason only.
package faultp11

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

// A Module is one copy of the fault module. It starts without faults.
type Module struct {
	// Path is the file to load instead of the real module.
	Path string

	t   testing.TB // nil: a misuse panics
	ctl *control
}

// New puts a fault module before a SoftHSM that is this test's alone, with an
// empty token store: its own copy of the library, so that C_Initialize and
// C_Finalize disturb nobody. Lines are added to SoftHSM's configuration, such
// as "slots.mechanisms = CKM_RSA_PKCS". It needs 64-bit Linux.
func New(t testing.TB, lines ...string) *Module {
	t.Helper()
	cfg, err := copySoftHSM(t.TempDir(), hsmtest.Module(t), lines)
	if err != nil {
		t.Fatal(err)
	}
	return build(t, cfg)
}

// Over puts a fault module before the given one until the test ends. A module
// that is loaded directly as well is initialised by one of the two only.
func Over(t testing.TB, module string) *Module {
	t.Helper()
	return build(t, Config{Dir: t.TempDir(), Module: module})
}

func build(t testing.TB, cfg Config) *Module {
	t.Helper()
	m, err := Build(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.t = t
	t.Cleanup(m.Release)
	return m
}

// A Config is a fault module to build.
type Config struct {
	Dir    string // where it is written. Required; empty it when the module is no longer used
	Module string // path of the real module. Required
	Env    string // a variable, "NAME=value", that the real module alone sees in the environment. Empty means none
}

// Build is Over without a test, for benchmarks and tools. A misuse panics.
func Build(cfg Config) (*Module, error) {
	binary, err := compiled()
	if err != nil {
		return nil, err
	}
	if cfg.Module, err = filepath.Abs(cfg.Module); err != nil {
		return nil, fmt.Errorf("faultp11: %w", err)
	}
	if _, err := os.Stat(cfg.Module); err != nil {
		return nil, fmt.Errorf("faultp11: real module: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(cfg.Dir, "faultp11.so"))
	if err != nil {
		return nil, fmt.Errorf("faultp11: %w", err)
	}
	ctl, err := newControl(path+".ctl", cfg)
	if err != nil {
		return nil, fmt.Errorf("faultp11: control file: %w", err)
	}
	if err := os.WriteFile(path, binary, 0o700); err != nil {
		return nil, fmt.Errorf("faultp11: %w", err)
	}
	return &Module{Path: path, ctl: ctl}, nil
}

// Config initialises a token through the fault module, with the PINs of
// package hsmtest, and returns how to open it. The calls that took are counted
// like others: [Module.ResetCalls] forgets them.
func (m *Module) Config(t testing.TB) hsm.Config {
	t.Helper()
	var id [8]byte
	_, _ = rand.Read(id[:])
	label := "fault-" + hex.EncodeToString(id[:])
	_, err := hsm.Init(context.Background(), hsm.InitConfig{
		Module: m.Path,
		Label:  label,
		SOPIN:  hsmtest.Secret(hsmtest.SOPIN),
		PIN:    hsmtest.Secret(hsmtest.PIN),
	})
	if err != nil {
		t.Fatal(err)
	}
	return hsm.Config{Module: m.Path, Token: label, PIN: hsmtest.Secret(hsmtest.PIN)}
}

// function is the counted function of that name.
func (m *Module) function(name string) *counted {
	for i, known := range functions {
		if known == name {
			return &m.ctl.function[i]
		}
	}
	m.misuse("function %q is not among those counted: %v", name, functions)
	return nil
}

// misuse ends the test, or the program if there is none.
func (m *Module) misuse(format string, args ...any) {
	text := fmt.Sprintf("faultp11: "+format, args...)
	if m.t == nil {
		panic(text)
	}
	m.t.Helper()
	m.t.Fatal(text)
}
