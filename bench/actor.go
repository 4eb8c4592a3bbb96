// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

// An actor is a contender in an experiment, ready to be measured. Memory and
// threads are those of the measurement last made.
type actor interface {
	measure(workers int, d time.Duration) (sample, error)
	usage() (kib, threads int)
	stop()
}

// actor starts a contender.
func (b *bench) actor(e experiment, p *place, name string) (actor, error) {
	if f := tools[name]; f != nil {
		dir, err := os.MkdirTemp(p.dir, "tool-")
		t := tool{ctx: b.ctx, dir: dir, env: p.env(""), module: p.module, pin: hsmtest.PIN, workload: e.workload}
		return &toolActor{func(workers int) (sample, error) { return f(t, workers) }}, err
	}
	if f := daemons[name]; f != nil {
		return b.daemon(p, f)
	}
	c, ok := contenders[name]
	if !ok {
		return nil, fmt.Errorf("no contender %q", name)
	}
	if c.world != "" && e.world != c.world {
		other, err := b.world(c.world)
		if err != nil {
			return nil, err
		}
		moved := *p
		moved.world = other
		p = &moved
	}
	workload := e.workload
	if c.workload != "" {
		workload = c.workload
	}
	argv, err := b.argv(c.program, workload)
	if err != nil {
		return nil, err
	}
	env := p.env(b.neutralAddress(e.address), c.env...)
	if e.kind == starts {
		return &starter{spawn: func() (*child, error) { return spawn(b.ctx, env, argv...) }}, nil
	}
	c1, err := spawn(b.ctx, env, argv...)
	if err != nil {
		return nil, err
	}
	if err := c1.ready(); err != nil {
		c1.stop()
		return nil, err
	}
	if e.kind == serves {
		return b.load(p, c1)
	}
	return &player{measured: c1, driven: c1}, nil
}

// load puts the neutral client before a server.
func (b *bench) load(p *place, server *child) (actor, error) {
	argv, err := b.argv("openssl", "handshake")
	if err != nil {
		server.stop()
		return nil, fmt.Errorf("no load without the OpenSSL client: %w", err)
	}
	client, err := spawn(b.ctx, p.env(server.address, "BENCH_KEY=file"), argv...)
	if err == nil {
		if err = client.ready(); err == nil {
			return &player{measured: server, driven: client}, nil
		}
		client.stop()
	}
	server.stop()
	return nil, err
}

// daemon starts a server that is not ours, at a free port.
func (b *bench) daemon(p *place, f func(daemon) ([]string, error)) (actor, error) {
	dir, err := os.MkdirTemp(p.dir, "daemon-")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	argv, err := f(daemon{bin: b.bin, dir: dir, files: p.world.dir, module: p.module, pin: hsmtest.PIN, address: address, backend: b.neutralAddress(sink)})
	if err != nil {
		return nil, err
	}
	server, err := spawnServer(b.ctx, p.env("", "OPENSSL_CONF="+filepath.Join(dir, "openssl.cnf")), address, argv...)
	if err != nil {
		return nil, err
	}
	return b.load(p, server)
}

func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// A player is a process that is measured, and the one that is told to run, which
// is another one for servers.
type player struct {
	measured, driven *child
	most             int // threads
}

func (a *player) measure(workers int, d time.Duration) (sample, error) {
	g := groupOf(a.measured.cmd.Process.Pid)
	threads := g.watch()
	before := g.cpu()
	s, err := a.driven.run(workers, d)
	s.CPU = int64(g.cpu() - before)
	a.most = threads()
	return s, err
}

func (a *player) usage() (kib, threads int) {
	return groupOf(a.measured.cmd.Process.Pid).memory(), a.most
}

func (a *player) stop() {
	if a.driven != a.measured {
		a.driven.stop()
	}
	a.measured.stop()
}

// A starter starts the process for each measurement, and measures from before
// that to its first answer.
type starter struct {
	spawn        func() (*child, error)
	kib, threads int
}

func (a *starter) measure(workers int, _ time.Duration) (s sample, err error) {
	c, err := a.spawn()
	if err != nil {
		return s, err
	}
	s, err = c.first(workers)
	g := group{c.cmd.Process.Pid}
	a.kib, a.threads = g.memory(), g.threads()
	c.stop()
	if c.cmd.ProcessState != nil {
		s.CPU = int64(c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime())
	}
	return s, err
}

// first has a fresh process do one operation; the time begins with the process.
func (c *child) first(workers int) (sample, error) {
	if _, err := fmt.Fprintf(c.in, "run %d 0\n", workers); err != nil {
		return sample{}, err
	}
	if err := c.ready(); err != nil {
		return sample{}, err
	}
	text, err := c.line("done", patience)
	took := int64(time.Since(c.begun))
	if err != nil {
		return sample{}, err
	}
	s, err := parseSample(text)
	s.NS, s.P50, s.P99, s.Max = took, took, took, took
	return s, err
}

func (a *starter) usage() (kib, threads int) { return a.kib, a.threads }
func (a *starter) stop()                     {}

// A toolActor runs a program for each measurement.
type toolActor struct {
	once func(workers int) (sample, error)
}

func (a *toolActor) measure(workers int, _ time.Duration) (sample, error) { return a.once(workers) }
func (a *toolActor) usage() (kib, threads int)                            { return 0, 0 }
func (a *toolActor) stop()                                                {}
