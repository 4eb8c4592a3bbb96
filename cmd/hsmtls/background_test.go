// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a program may take to start or to end.
const patience = time.Minute

type backgroundKey struct{}

// A background is a program that a script has started.
type background struct {
	cmd  *exec.Cmd
	done chan error
}

func backgrounds(ts *testscript.TestScript) map[string]*background {
	return ts.Value(backgroundKey{}).(map[string]*background)
}

func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: start NAME REGEXP PROGRAM [ARG...]")
	}
	name, pattern := args[0], regexp.MustCompile(args[1])
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer errs.Close()
	path, err := exec.LookPath(args[2])
	ts.Check(err)
	b := &background{cmd: exec.Command(path, args[3:]...), done: make(chan error, 1)}
	b.cmd.Dir, b.cmd.Env = ts.MkAbs("."), scriptEnv(ts)
	b.cmd.Stdout, b.cmd.Stderr = out, errs
	ts.Check(b.cmd.Start())
	go func() { b.done <- b.cmd.Wait() }()
	backgrounds(ts)[name] = b
	ts.Defer(func() { b.kill() })
	ts.Setenv(name, await(ts, b, name, pattern))
}

// scriptEnv is what the script's own programs see.
func scriptEnv(ts *testscript.TestScript) []string {
	env := os.Environ()
	for _, name := range []string{"SOFTHSM2_CONF", "OPENSSL_CONF", "HSMTLS_MODULE", "HSMTLS_PIN_FILE", "HSMTLS_TOKEN", "HSMTLS_ACQUIRER_ROOT"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// await returns what the program prints for the pattern's group.
func await(ts *testscript.TestScript, b *background, name string, pattern *regexp.Regexp) string {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if m := pattern.FindStringSubmatch(ts.ReadFile(name + ".out")); len(m) > 1 {
			return m[1]
		}
		select {
		case err := <-b.done:
			b.done <- err
			ts.Fatalf("%s ended: %v\n%s", name, err, ts.ReadFile(name+".err"))
		default:
		}
	}
	ts.Fatalf("%s did not print %v in %v", name, pattern, patience)
	return ""
}

func (b *background) kill() {
	_ = b.cmd.Process.Kill()
	b.done <- <-b.done // for whoever asks again
}

func cmdHalt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: halt NAME [STATUS]")
	}
	b := backgrounds(ts)[args[0]]
	if b == nil {
		ts.Fatalf("%s is not running", args[0])
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case err := <-b.done:
		b.done <- err
		if len(args) == 2 && strconv.Itoa(status(ts, err)) != args[1] {
			ts.Fatalf("%s: exit status %d, want %s\n%s", args[0], status(ts, err), args[1], ts.ReadFile(args[0]+".err"))
		}
	case <-time.After(patience):
		ts.Fatalf("%s did not end in %v", args[0], patience)
	}
	ts.Logf("%s: %s", args[0], strings.TrimSpace(ts.ReadFile(args[0]+".err")))
}
