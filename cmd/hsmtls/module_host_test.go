// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdKillHost kills (kill -9) the module host of a program that a script has
// started.
func cmdKillHost(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill-host NAME")
	}
	parent := fmt.Sprint(backgrounds(ts)[args[0]].cmd.Process.Pid)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	ts.Check(err)
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// proc_pid_stat(5): pid (comm) state ppid
		var pid int
		_, err = fmt.Sscan(string(stat), &pid)
		ts.Check(err)
		rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(rest) > 1 && rest[0] != "Z" && rest[1] == parent {
			ts.Logf("module host of %s: process %d", args[0], pid)
			host, err := os.FindProcess(pid)
			ts.Check(err)
			ts.Check(host.Kill())
			return
		}
	}
	ts.Fatalf("%s has no module host", args[0])
}
