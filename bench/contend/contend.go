// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

// Package contend is what the Go contenders of the benchmark have in common: the
// line protocol by which the driver asks a process to do something for a while
// and hears how it went.
//
// A contender is started with the name of a workload and finds its world in the
// environment (see [Env]). It writes
//
//	ready [ADDRESS]
//
// reads lines
//
//	run WORKERS MILLISECONDS
//
// and answers each with
//
//	done count=N failed=N ns=N p50=N p99=N max=N [more=N...] [error=TEXT]
//
// where times are in nanoseconds. Zero milliseconds are one operation for each
// worker, all at once. It ends when its standard input does. The C and Java
// contenders speak the same.
package contend

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Env is the world of a contender.
type Env struct {
	Module   string // path of the PKCS#11 library
	Token    string // label of the token
	PIN      string // of its user
	Files    string // folder with root.pem, unit.pem and others
	Address  string // of the server to dial, or the folder of it
	Sessions int    // what to set where a contender bounds its sessions; zero is its own default
}

// Environment reads Env from the variables that the driver sets.
func Environment() Env {
	sessions, _ := strconv.Atoi(os.Getenv("BENCH_SESSIONS"))
	return Env{
		Module:   os.Getenv("BENCH_MODULE"),
		Token:    os.Getenv("BENCH_TOKEN"),
		PIN:      os.Getenv("BENCH_PIN"),
		Files:    os.Getenv("BENCH_FILES"),
		Address:  os.Getenv("BENCH_ADDRESS"),
		Sessions: sessions,
	}
}

// A Case is a workload, ready to run.
type Case struct {
	// Once does the operation that is measured. Workers are numbered from zero
	// and are goroutines. Nil means a server, which only listens.
	Once func(worker int) error

	// Before and After surround each Once and are not measured. Nil does nothing.
	Before, After func(worker int) error

	// Address is where a server listens.
	Address string

	// Resumed, if set, counts the handshakes that resumed a session.
	Resumed *atomic.Int64
}

// Main runs the workload that the command line names. It does not return.
func Main(workloads map[string]func(Env) (*Case, error)) {
	if len(os.Args) != 2 || workloads[os.Args[1]] == nil {
		fmt.Println("error no such workload")
		os.Exit(2)
	}
	c, err := workloads[os.Args[1]](Environment())
	if err != nil {
		fmt.Printf("error %v\n", oneLine(err))
		os.Exit(1)
	}
	fmt.Println(strings.TrimSpace("ready " + c.Address))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var workers, ms int
		if _, err := fmt.Sscanf(in.Text(), "run %d %d", &workers, &ms); err != nil || c.Once == nil {
			fmt.Println("error what?")
			os.Exit(2)
		}
		fmt.Println(c.Run(workers, time.Duration(ms)*time.Millisecond))
	}
	os.Exit(0) // without closing: what is measured is over
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// tally is what one worker did.
type tally struct {
	took   []time.Duration
	failed int
	err    error // the first one
}

// Run makes that many workers repeat the operation for that long and returns
// the line that says how it went.
func (c *Case) Run(workers int, d time.Duration) string {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	resumed := c.resumed()
	tallies := make([]tally, workers)
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range tallies {
		wg.Go(func() { c.work(w, begin.Add(d), &tallies[w]) })
	}
	wg.Wait()
	ns := time.Since(begin)
	runtime.ReadMemStats(&after)
	all := merge(tallies)
	line := all.line(ns) + fmt.Sprintf(" resumed=%d", c.resumed()-resumed)
	if n := len(all.took); n > 0 {
		line += fmt.Sprintf(" mallocs=%d", int(after.Mallocs-before.Mallocs)/n)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	line += fmt.Sprintf(" heap=%d", after.HeapAlloc)
	if all.err != nil {
		line += " error=" + oneLine(all.err)
	}
	return line
}

func (c *Case) resumed() int64 {
	if c.Resumed == nil {
		return 0
	}
	return c.Resumed.Load()
}

func (c *Case) work(w int, end time.Time, t *tally) {
	for {
		took, err := c.timed(w)
		switch {
		case err == nil:
			t.took = append(t.took, took)
		default:
			t.failed++
			if t.err == nil {
				t.err = err
			}
		}
		if !time.Now().Before(end) {
			return
		}
	}
}

func (c *Case) timed(w int) (time.Duration, error) {
	if c.Before != nil {
		if err := c.Before(w); err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	err := c.Once(w)
	took := time.Since(begin)
	if err == nil && c.After != nil {
		err = c.After(w)
	}
	return took, err
}

func merge(tallies []tally) tally {
	var all tally
	for _, t := range tallies {
		all.took = append(all.took, t.took...)
		all.failed += t.failed
		if all.err == nil {
			all.err = t.err
		}
	}
	slices.Sort(all.took)
	return all
}

// line is the answer as far as every contender gives it. Took is sorted.
func (t *tally) line(ns time.Duration) string {
	quantile := func(q float64) int64 {
		if len(t.took) == 0 {
			return 0
		}
		return int64(t.took[min(int(q*float64(len(t.took))), len(t.took)-1)])
	}
	return fmt.Sprintf("done count=%d failed=%d ns=%d p50=%d p99=%d max=%d",
		len(t.took), t.failed, ns, quantile(0.5), quantile(0.99), quantile(1))
}
