// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

// TestMain makes this test binary the program hsmtls of the scripts.
func TestMain(m *testing.M) {
	testscript.Main(leakFree{m}, map[string]func(){"hsmtls": main})
}

// leakFree fails tests that pass and leave goroutines behind.
type leakFree struct{ m *testing.M }

func (l leakFree) Run() int { return hsmtest.LeakFree(hsmtest.Main(l.m)) }

// plain builds hsmtls as users have it. A program with the race detector takes many
// times as long to start, and scripts start hundreds: what they start in the background
// is this test binary, and looks for races; what does one thing and ends is not.
func plain(t *testing.T) (dir string) {
	dir = t.TempDir()
	said, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir+string(filepath.Separator), ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, said)
	}
	return dir
}

// TestScripts runs testdata/script. Each script has an empty SoftHSM of its
// own, the PIN files pin and so-pin, and these commands beside those of
// testscript:
//
//	exits STATUS PROGRAM [ARG...]         run it and compare its exit status
//	init LABEL                            initialise a token and set HSMTLS_TOKEN
//	pki ...                               see pki_test.go
//	id VARIABLE ISSUER                    see crl_test.go
//	est NAME HOSTCA CA [LABEL]            see est_server_test.go
//	start NAME REGEXP PROGRAM [ARG...]    run it in the background until it prints
//	                                      REGEXP, whose group becomes $NAME; its
//	                                      output is in NAME.out and NAME.err
//	manager NAME                          see notify_test.go
//	kill-host NAME                        see module_host_test.go
//	halt NAME [STATUS]                    end it with SIGTERM and compare its status
func TestScripts(t *testing.T) {
	t.Parallel()
	module, programs := hsmtest.Module(t), plain(t)
	scripts, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in testdata/script: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Files:               scripts,
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return setUp(env, module, programs) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   cmdExits,
			"init":    cmdInit,
			"pki":     cmdPKI,
			"id":      cmdID,
			"est":     cmdEST,
			"start":   cmdStart,
			"halt":    cmdHalt,
			"waits":   cmdWaits,
			"manager": cmdManager,

			"kill-host": cmdKillHost,
		},
	})
}

func setUp(env *testscript.Env, module, programs string) error {
	conf, err := hsmtest.WriteConfig(env.WorkDir)
	if err != nil {
		return err
	}
	until, err := filepath.Abs("testdata/until.sh")
	if err != nil {
		return err
	}
	for name, pin := range map[string]string{"pin": hsmtest.PIN, "so-pin": hsmtest.SOPIN} {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(pin+"\n"), 0o600); err != nil {
			return err
		}
	}
	env.Setenv("PATH", programs+string(filepath.ListSeparator)+env.Getenv("PATH"))
	env.Setenv("SOFTHSM2_CONF", conf)
	env.Setenv("HSMTLS_MODULE", module)
	env.Setenv("HSMTLS_PIN_FILE", filepath.Join(env.WorkDir, "pin"))
	env.Setenv("OPENSSL_CONF", os.DevNull)
	env.Setenv("PIN", hsmtest.PIN)
	env.Setenv("SO_PIN", hsmtest.SOPIN)
	env.Setenv("UNTIL", until)
	env.Values[pkiKey{}] = make(pki)
	env.Values[backgroundKey{}] = make(map[string]*background)
	return nil
}

// cmdWaits is grep for the output of a program that is still running.
func cmdWaits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waits PATTERN FILE")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text := ts.ReadFile(args[1])
		if pattern.MatchString(text) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s does not appear in %s:\n%s", args[0], args[1], text)
		}
	}
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := status(ts, ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// status is the exit status behind an error of package exec.
func status(ts *testscript.TestScript, err error) int {
	if err == nil {
		return 0
	}
	exit, ok := err.(*exec.ExitError)
	if !ok {
		ts.Fatalf("%v", err)
	}
	return exit.ExitCode()
}

func cmdInit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: init LABEL")
	}
	ts.Check(ts.Exec("hsmtls", "token", "init", "--label", args[0], "--so-pin-file", ts.MkAbs("so-pin")))
	ts.Setenv("HSMTLS_TOKEN", args[0])
}
