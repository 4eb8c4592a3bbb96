// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
)

// A route is what lies between a contender and SoftHSM.
type route int

const (
	direct route = iota // nothing
	slow                // the fault module, which counts and delays calls
	remote              // p11-kit, from one process to another
)

// A place is a world and the route to it, as one experiment uses them.
type place struct {
	*world
	dir    string // for what contenders write
	module string
	fault  *faultp11.Module // with slow only
	server *exec.Cmd        // with remote only
}

func (b *bench) place(r route, entries string) (_ *place, err error) {
	p := &place{module: b.module}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.world, err = b.world(entries); err != nil {
		return nil, err
	}
	b.places++
	p.dir = filepath.Join(b.dir, fmt.Sprintf("place-%d", b.places))
	if err = os.Mkdir(p.dir, 0o700); err != nil {
		return nil, err
	}
	switch r {
	case slow:
		err = p.interpose()
	case remote:
		err = p.serve(b.kit)
	}
	return p, err
}

func (p *place) interpose() (err error) {
	if p.fault, err = faultp11.Build(faultp11.Config{Dir: p.dir, Module: p.module}); err == nil {
		p.module = p.fault.Path
	}
	return err
}

// serve starts p11-kit's server for the token.
func (p *place) serve(client string) error {
	if client == "" {
		return errors.New("p11-kit's client library is not installed")
	}
	p.server = exec.Command("p11-kit", "server", "-f", "-n", p.socket(), "--provider", p.module, "pkcs11:token="+label)
	p.server.Env = append(os.Environ(), "SOFTHSM2_CONF="+p.config())
	p.server.Stdout, p.server.Stderr = io.Discard, io.Discard
	p.server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.server.Start(); err != nil {
		p.server = nil
		return err
	}
	p.module = client
	for end := time.Now().Add(patience / 6); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(p.socket()); err == nil {
			return nil
		}
	}
	return errors.New("p11-kit server does not listen")
}

func (p *place) socket() string { return filepath.Join(p.dir, "sock") }

// env is the environment of a contender here: Env of package contend, and where
// SoftHSM and p11-kit find their things.
func (p *place) env(address string, more ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "BENCH_") {
			env = append(env, v)
		}
	}
	env = append(env, "SOFTHSM2_CONF="+p.config(), "BENCH_MODULE="+p.module, "BENCH_TOKEN="+label,
		"BENCH_PIN="+hsmtest.PIN, "BENCH_FILES="+p.world.dir, "BENCH_ADDRESS="+address)
	if p.server != nil {
		env = append(env, "P11_KIT_SERVER_ADDRESS=unix:path="+p.socket())
	}
	return append(env, more...)
}

func (p *place) close() {
	if p.server != nil {
		_ = syscall.Kill(-p.server.Process.Pid, syscall.SIGKILL)
		_ = p.server.Wait()
	}
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}
