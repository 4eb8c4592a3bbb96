// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package faultp11

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// The C source. Its build constraint keeps the go command from compiling it.
var (
	//go:embed faultp11.c
	mainSource []byte
	//go:embed faultp11.h
	controlSource []byte
	//go:embed state.h
	stateSource []byte
	//go:embed functions.h
	functionsSource []byte
	//go:embed private.h
	privateSource []byte
)

// compiled returns the module's file. It is compiled once in a process and kept
// in memory, so nothing has to be cleaned up.
var compiled = sync.OnceValues(func() ([]byte, error) {
	if path := os.Getenv("HSMTLS_FAULTP11"); path != "" {
		binary, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("faultp11: $HSMTLS_FAULTP11: %w", err)
		}
		return binary, nil
	}
	include, err := headers()
	if err != nil {
		return nil, err
	}
	return compile(include)
})

// headers is the folder of the PKCS#11 headers that miekg/pkcs11 comes with.
func headers() (string, error) {
	cmd := exec.Command("go", "list", "-e", "-find", "-f", "{{.Dir}}", "github.com/miekg/pkcs11")
	if _, here, _, ok := runtime.Caller(0); ok && filepath.IsAbs(here) { // not with -trimpath
		cmd.Dir = filepath.Dir(here)
	}
	out, err := cmd.Output()
	dir := strings.TrimSpace(string(out))
	if err != nil || dir == "" {
		return "", fmt.Errorf("faultp11: go list finds no source of github.com/miekg/pkcs11, whose headers are needed: %w", err)
	}
	return dir, nil
}

func compile(include string) (_ []byte, err error) {
	cc := strings.Fields(os.Getenv("CC"))
	if len(cc) == 0 {
		cc = []string{"cc"}
	}
	if _, err := exec.LookPath(cc[0]); err != nil {
		return nil, fmt.Errorf("faultp11: a C compiler is needed: install one, name it in $CC, or name a compiled module in $HSMTLS_FAULTP11: %w", err)
	}
	dir, err := os.MkdirTemp("", "faultp11-")
	if err != nil {
		return nil, fmt.Errorf("faultp11: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	source := map[string][]byte{"faultp11.c": mainSource, "faultp11.h": controlSource, "state.h": stateSource, "functions.h": functionsSource, "private.h": privateSource}
	for name, text := range source {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return nil, fmt.Errorf("faultp11: %w", err)
		}
	}
	out := filepath.Join(dir, "faultp11.so")
	cmd := exec.Command(cc[0], append(cc[1:], "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-pthread", "-I", include,
		"-o", out, filepath.Join(dir, "faultp11.c"), "-ldl")...)
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		return nil, fmt.Errorf("faultp11: %s: %w\n%s", cc[0], errors.Join(errors.New("complaints"), err), said)
	}
	return os.ReadFile(out)
}
