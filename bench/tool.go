// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tools are the programs that are measured by running them: what they print is
// the result, or how long they took is.
var tools = map[string]func(t tool, workers int) (sample, error){
	"openssl speed (software key)": tool.speed,
	"pkcs11-tool, whole process":   tool.list,
	"keytool, whole process":       tool.keytool,
}

// A tool is where and with what a program is to run.
type tool struct {
	ctx      context.Context
	dir      string // of its own
	env      []string
	module   string
	pin      string
	workload string
}

// output runs a program and returns what it wrote and how long it took.
func (t tool) output(argv ...string) ([]byte, sample, error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	cmd.Env, cmd.Stderr = t.env, io.Discard
	begin := time.Now()
	out, err := cmd.Output()
	took := time.Since(begin)
	if err != nil {
		return nil, sample{}, fmt.Errorf("%s: %w", argv[0], err)
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return out, sample{Count: 1, NS: int64(took), P50: int64(took), P99: int64(took), Max: int64(took), CPU: int64(cpu)}, nil
}

// speed asks OpenSSL for its own signatures, with a key in memory.
func (t tool) speed(workers int) (sample, error) {
	algorithm, prefix := "rsa2048", "+F2:"
	switch t.workload {
	case "sign-p256":
		algorithm, prefix = "ecdsap256", "+F4:"
	case "sign-pss":
		return sample{}, errors.New("openssl speed does not do PSS")
	}
	argv := []string{"openssl", "speed", "-mr", "-seconds", "1"}
	if workers > 1 {
		argv = append(argv, "-multi", strconv.Itoa(workers))
	}
	out, _, err := t.output(append(argv, algorithm)...)
	if err != nil {
		return sample{}, err
	}
	for in := bufio.NewScanner(bytes.NewReader(out)); in.Scan(); {
		if !strings.HasPrefix(in.Text(), prefix) {
			continue
		}
		fields := strings.Split(in.Text(), ":")
		if rate, err := strconv.ParseFloat(fields[3], 64); err == nil && rate > 1 {
			return sample{Count: int64(rate), NS: int64(time.Second), P50: int64(1e9 / rate * float64(workers))}, nil
		}
	}
	return sample{}, fmt.Errorf("openssl speed printed no line %q", prefix)
}

// list lists the certificates of the token.
func (t tool) list(int) (sample, error) {
	_, s, err := t.output("pkcs11-tool", "--module", t.module, "--token-label", label, "--login", "--pin", t.pin, "--list-objects", "--type", "cert")
	return s, err
}

// keytool lists them as Java sees them.
func (t tool) keytool(int) (sample, error) {
	conf := filepath.Join(t.dir, "sunpkcs11.cfg")
	if err := os.WriteFile(conf, []byte("name = bench\nlibrary = "+t.module+"\nslotListIndex = 0\n"), 0o600); err != nil {
		return sample{}, err
	}
	_, s, err := t.output("keytool", "-list", "-storetype", "PKCS11", "-storepass", t.pin,
		"-providerClass", "sun.security.pkcs11.SunPKCS11", "-providerArg", conf)
	return s, err
}
