// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a process may take for anything beyond what it was asked
// to take.
const patience = 2 * time.Minute

// A child is a process that speaks the line protocol, or a server that does not.
// It is the leader of a process group, which ends as a whole.
type child struct {
	ctx     context.Context
	cmd     *exec.Cmd
	in      io.WriteCloser
	lines   chan string
	said    tail
	begun   time.Time
	address string // what a server said with "ready"
	deaf    bool   // does not end with its standard input
}

// spawn starts a program. Its last words, for an error, are kept.
func spawn(ctx context.Context, env []string, argv ...string) (*child, error) {
	c, err := prepare(ctx, env, argv)
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.begun = time.Now()
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go c.listen(out)
	return c, nil
}

// spawnServer starts a server that does not speak the protocol, and waits until
// it listens at address.
func spawnServer(ctx context.Context, env []string, address string, argv ...string) (*child, error) {
	c, err := prepare(ctx, env, argv)
	if err != nil {
		return nil, err
	}
	close(c.lines)
	c.cmd.Stdout, c.address, c.deaf = &c.said, address, true
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience / 4); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			return c, conn.Close()
		}
	}
	c.stop()
	return nil, fmt.Errorf("does not listen; last: %q", c.said.String())
}

func prepare(ctx context.Context, env, argv []string) (_ *child, err error) {
	c := &child{ctx: ctx, lines: make(chan string, 16)}
	c.cmd = exec.Command(argv[0], argv[1:]...)
	c.cmd.Env, c.cmd.Stderr = env, &c.said
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.cmd.WaitDelay = time.Second
	c.in, err = c.cmd.StdinPipe()
	return c, err
}

func (c *child) listen(out io.Reader) {
	defer close(c.lines)
	for in := bufio.NewScanner(out); in.Scan(); {
		select {
		case c.lines <- in.Text():
		case <-time.After(patience): // a server that talks; nobody listens
		}
	}
}

// line waits for one line and returns what follows its first word, which must be
// the one expected.
func (c *child) line(word string, wait time.Duration) (string, error) {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case text, ok := <-c.lines:
		first, rest, _ := strings.Cut(text, " ")
		switch {
		case !ok:
			return "", fmt.Errorf("ended without a word; last: %q", c.said.String())
		case first == "error":
			return "", errors.New(rest)
		case first != word:
			return "", fmt.Errorf("said %q", text)
		}
		return rest, nil
	case <-timeout.C:
		return "", fmt.Errorf("no answer in %v", wait)
	case <-c.ctx.Done():
		return "", c.ctx.Err()
	}
}

func (c *child) ready() (err error) {
	c.address, err = c.line("ready", patience)
	return err
}

// run has the workload run and returns the answer.
func (c *child) run(workers int, d time.Duration) (sample, error) {
	if _, err := fmt.Fprintf(c.in, "run %d %d\n", workers, d.Milliseconds()); err != nil {
		return sample{}, fmt.Errorf("has ended: %w; last: %q", err, c.said.String())
	}
	text, err := c.line("done", d+patience)
	if err != nil {
		return sample{}, err
	}
	return parseSample(text)
}

// parseSample reads the answer to a run.
func parseSample(text string) (sample, error) {
	var s sample
	text, s.Error, _ = strings.Cut(text, " error=")
	fields := map[string]*int64{"count": &s.Count, "failed": &s.Failed, "ns": &s.NS, "p50": &s.P50, "p99": &s.P99, "max": &s.Max,
		"resumed": &s.Resumed, "mallocs": &s.Mallocs, "heap": &s.Heap}
	for _, field := range strings.Fields(text) {
		name, value, _ := strings.Cut(field, "=")
		to := fields[name]
		n, err := strconv.ParseInt(value, 10, 64)
		if to == nil || err != nil {
			return sample{}, fmt.Errorf("answered %q", text)
		}
		*to = n
	}
	if s.NS == 0 || s.Count+s.Failed == 0 {
		return sample{}, fmt.Errorf("answered %q", text)
	}
	return s, nil
}

// stop ends the whole group, politely if it can, and reaps the process.
func (c *child) stop() {
	_ = c.in.Close()
	if c.deaf {
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGTERM)
	}
	gone := make(chan struct{})
	go func() {
		for range c.lines { // until the pipe is closed, as Wait demands
		}
		_ = c.cmd.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
	}
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // whoever is left of the group
	<-gone
}

// tail keeps the end of what was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-300):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.text)), " ")
}
