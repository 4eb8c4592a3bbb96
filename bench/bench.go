// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

// A bench is everything that outlives one experiment. It holds a folder in
// memory, if the machine has one, with the worlds that were made so far.
type bench struct {
	options
	ctx     context.Context
	dir     string
	worlds  map[string]*world // by number of entries
	neutral *child            // the server for clients
	places  int
}

func newBench(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o, ctx: ctx, worlds: map[string]*world{}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.bin, err = filepath.Abs(o.bin); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(memory(), "hsmtls-bench-"); err != nil {
		return nil, err
	}
	if err = writeRoot(b.dir); err != nil {
		return nil, err
	}
	w, err := b.world("1")
	if err != nil {
		return nil, err
	}
	if b.neutral, err = b.self(append(os.Environ(), "BENCH_FILES="+w.dir), "neutral"); err != nil {
		return nil, err
	}
	if err = b.neutral.ready(); err != nil {
		return nil, fmt.Errorf("neutral server: %w", err)
	}
	return b, nil
}

// memory is a folder that is kept in memory, or empty for the usual one.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// self starts this program in another role.
func (b *bench) self(env []string, args ...string) (*child, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return spawn(b.ctx, env, append([]string{path}, args...)...)
}

func (b *bench) close() {
	if b.neutral != nil {
		b.neutral.stop()
	}
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// The servers of neutralMain.
const (
	fullOnly = iota
	resumes
	overHTTP
	sink
)

func (b *bench) neutralAddress(which int) string {
	all := strings.Fields(b.neutral.address)
	return all[which]
}

// world returns the world with that many entries, which is made when it is first
// asked for.
func (b *bench) world(entries string) (*world, error) {
	if w := b.worlds[entries]; w != nil {
		return w, nil
	}
	w := &world{dir: filepath.Join(b.dir, "world-"+entries)}
	if _, err := hsmtest.WriteConfig(w.dir); err != nil {
		return nil, err
	}
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(b.ctx, path, "world", w.dir, entries, b.module)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+w.config())
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("world with %s entries: %w\n%s", entries, err, out)
	}
	b.worlds[entries] = w
	return w, nil
}
