// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package hsmtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
)

const (
	opencryptokiSlot  = "3"
	opencryptokiSOPIN = "87654321" // of a blank token
	opencryptokiConf  = "/etc/opencryptoki/opencryptoki.conf"
	opencryptokiText  = "version opencryptoki-3.1\nslot 3\n{\nstdll = libpkcs11_sw.so\n}\n"
)

// OpenCryptoki initialises the soft token of openCryptoki. The machine has one,
// with its state in system folders, so whatever it held is lost; therefore this
// runs only if $HSMTLS_TEST_OPENCRYPTOKI is set, as root, with the package
// installed and its daemon not running. Otherwise it skips the test and says why.
func OpenCryptoki(t testing.TB) hsm.Config {
	t.Helper()
	module := opencryptokiModule(t)
	if before, err := os.ReadFile(opencryptokiConf); err == nil {
		t.Cleanup(func() { _ = os.WriteFile(opencryptokiConf, before, 0o644) })
	}
	if err := os.WriteFile(opencryptokiConf, []byte(opencryptokiText), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/var/lock/opencryptoki", "/var/lock/opencryptoki/swtok"} {
		if err := os.MkdirAll(dir, 0o770); err != nil {
			t.Fatal(err)
		}
	}
	startSlotDaemon(t)
	label := "conformance"
	for _, step := range []struct{ in, args string }{
		{label + "\n", "-I -c " + opencryptokiSlot + " -S " + opencryptokiSOPIN},
		{"", "-P -c " + opencryptokiSlot + " -S " + opencryptokiSOPIN + " -n " + SOPIN},
		{"", "-u -c " + opencryptokiSlot + " -S " + SOPIN + " -n 654321"},
		{"", "-p -c " + opencryptokiSlot + " -U 654321 -n " + PIN},
	} {
		cmd := exec.Command("pkcsconf", strings.Fields(step.args)...)
		cmd.Stdin = strings.NewReader(step.in)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("pkcsconf %s: %v\n%s", step.args, err, out)
		}
	}
	return hsm.Config{Module: module, Token: label, PIN: Secret(PIN)}
}

// opencryptokiModule returns the path of the library, or skips the test.
func opencryptokiModule(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/*/pkcs11/libopencryptoki.so")
	_, daemon := exec.LookPath("pkcsslotd")
	_, tool := exec.LookPath("pkcsconf")
	switch {
	case os.Getenv("HSMTLS_TEST_OPENCRYPTOKI") == "":
		t.Skip("openCryptoki: HSMTLS_TEST_OPENCRYPTOKI is not set; the test wipes the machine's soft token")
	case len(found) == 0 || daemon != nil || tool != nil:
		t.Skip("openCryptoki is not installed")
	case os.Geteuid() != 0:
		t.Skip("openCryptoki: its daemon needs root")
	case slotDaemon() != 0:
		t.Skip("openCryptoki: its daemon runs already, for somebody else")
	}
	return found[0]
}

// startSlotDaemon starts pkcsslotd, which goes into the background, and ends it
// with the test.
func startSlotDaemon(t testing.TB) {
	t.Helper()
	wipe, _ := filepath.Glob("/var/lib/opencryptoki/swtok/*")
	for _, path := range wipe {
		_ = os.RemoveAll(path)
	}
	if err := os.MkdirAll("/var/lib/opencryptoki/swtok/TOK_OBJ", 0o770); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("pkcsslotd").Run(); err != nil {
		t.Fatalf("pkcsslotd: %v", err)
	}
	pid := 0
	for end := time.Now().Add(5 * time.Second); pid == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		pid = slotDaemon()
	}
	if pid == 0 {
		t.Fatal("pkcsslotd does not run")
	}
	t.Cleanup(func() {
		_ = syscall.Kill(pid, syscall.SIGTERM)
		for end := time.Now().Add(5 * time.Second); slotDaemon() != 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		}
	})
}

// slotDaemon is the process id of the daemon, zero if it does not run.
func slotDaemon() int {
	text, err := os.ReadFile("/var/run/pkcsslotd.pid")
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil || syscall.Kill(pid, 0) != nil {
		return 0
	}
	if status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && bytes.Contains(status, []byte(") Z ")) {
		return 0
	}
	return pid
}
