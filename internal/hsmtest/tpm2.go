// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package hsmtest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
)

// tpm2Programs are what TPM2 starts: a TPM in software, a bus, and the resource
// manager without which a TPM has room for three objects.
var tpm2Programs = []string{"swtpm", "dbus-daemon", "tpm2-abrmd", "tpm2_ptool"}

// TPM2 makes a token on tpm2-pkcs11, with a TPM in software that is this test's.
// It is configured through the environment, so a test that calls this cannot be
// parallel. If a program or library is not installed it skips the test and says
// which.
func TPM2(t testing.TB) hsm.Config {
	t.Helper()
	module := tpm2Module(t)
	dir, err := os.MkdirTemp("", "tpm2-") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, sub := range []string{"tpm", "store"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	port := twoPorts(t)
	bus, tcti := "unix:path="+dir+"/bus", "tabrmd:bus_name=com.intel.tss2.Tabrmd,bus_type=session"
	for name, value := range map[string]string{
		"DBUS_SESSION_BUS_ADDRESS": bus, "TPM2_PKCS11_STORE": dir + "/store", "TPM2_PKCS11_TCTI": tcti,
		"TPM2TOOLS_TCTI": tcti, "TPM2_PKCS11_BACKEND": "esysdb", "TPM2_PKCS11_LOG_LEVEL": "0", "TSS2_LOG": "all+NONE",
	} {
		t.Setenv(name, value)
	}
	tpm := "type=tcp,bindaddr=127.0.0.1,port="
	daemon(t, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir+"/tpm", "--server", tpm+strconv.Itoa(port),
		"--ctrl", tpm+strconv.Itoa(port+1), "--flags", "not-need-init,startup-clear", "--seccomp", "action=none")
	daemon(t, "dbus-daemon", "--session", "--nofork", "--nopidfile", "--address="+bus)
	await(t, func() bool { _, err := os.Stat(dir + "/bus"); return err == nil })
	time.Sleep(300 * time.Millisecond) // swtpm serves one connection only, so it is not asked
	daemon(t, "tpm2-abrmd", "--session", "--allow-root", "--flush-all", "--max-transients=100", "--tcti=swtpm:host=127.0.0.1,port="+strconv.Itoa(port))
	const label = "conformance"
	tries(t, "tpm2_ptool", "init", "--path="+dir+"/store")
	tries(t, "tpm2_ptool", "addtoken", "--pid=1", "--sopin="+SOPIN, "--userpin="+PIN, "--label="+label, "--path="+dir+"/store")
	return hsm.Config{Module: module, Token: label, PIN: Secret(PIN)}
}

// tpm2Module returns the path of the library, or skips the test.
func tpm2Module(t testing.TB) string {
	t.Helper()
	for _, program := range tpm2Programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("tpm2-pkcs11: %s is not installed", program)
		}
	}
	found, _ := filepath.Glob("/usr/lib/*/pkcs11/libtpm2_pkcs11.so")
	if len(found) == 0 {
		t.Skip("tpm2-pkcs11 is not installed")
	}
	return found[0]
}

// daemon runs a program in a process group of its own until the test ends.
func daemon(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // says that it was killed
	})
}

// tries runs a program that may be too early for a daemon.
func tries(t testing.TB, name string, args ...string) {
	t.Helper()
	var out []byte
	var err error
	for range 20 {
		if out, err = exec.Command(name, args...).CombinedOutput(); err == nil {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("%s %v: %v\n%s", name, args, err, out)
}

func await(t testing.TB, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not start")
		}
	}
}

// twoPorts finds two adjacent ports that are free.
func twoPorts(t testing.TB) int {
	t.Helper()
	for range 100 {
		one, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := one.Addr().(*net.TCPAddr).Port
		two, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+1)))
		_ = one.Close()
		if err == nil {
			_ = two.Close()
			return port
		}
	}
	t.Fatal("no two adjacent ports are free")
	return 0
}
