// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ, which is 100 on every Linux
// that Go runs on.
const tick = 10 * time.Millisecond

// A group is the processes of one contender.
type group []int

// groupOf finds the processes of a process group.
func groupOf(leader int) group {
	var g group
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		fields := statFields(path)
		if len(fields) > 2 && fields[2] == strconv.Itoa(leader) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			g = append(g, pid)
		}
	}
	return g
}

// statFields are the fields of a stat file that follow the command's name: state,
// parent, process group and so on (proc(5)).
func statFields(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// cpu is the time the group has spent, in user and kernel mode, so far. It is
// the clock of getrusage, read from outside.
func (g group) cpu() time.Duration {
	var sum int64
	for _, pid := range g {
		fields := statFields(fmt.Sprintf("/proc/%d/stat", pid))
		if len(fields) > 12 {
			user, _ := strconv.ParseInt(fields[11], 10, 64)
			system, _ := strconv.ParseInt(fields[12], 10, 64)
			sum += user + system
		}
	}
	return time.Duration(sum) * tick
}

// memory is the most the group has had resident, in KiB, and threads is how
// many there are.
func (g group) memory() (kib int) { return g.status("VmHWM:") }

func (g group) threads() int { return g.status("Threads:") }

func (g group) status(name string) (sum int) {
	for _, pid := range g {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, _ := strings.Cut(string(text), "\n"+name)
		if fields := strings.Fields(rest); len(fields) > 0 {
			n, _ := strconv.Atoi(fields[0])
			sum += n
		}
	}
	return sum
}

// watch samples the number of threads until it is told to stop, and then returns
// the most it saw.
func (g group) watch() (stop func() int) {
	done, most := make(chan struct{}), make(chan int)
	go func() {
		n := g.threads()
		for every := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-every.C:
				n = max(n, g.threads())
			case <-done:
				every.Stop()
				most <- n
				return
			}
		}
	}()
	return func() int { close(done); return <-most }
}
