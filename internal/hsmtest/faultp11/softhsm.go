// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package faultp11

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

// copySoftHSM makes a copy of SoftHSM with a token store of its own. The copy is
// another library to the linker, with its own state. What names the store is an
// environment variable, read by C_Initialize: it is given to the copy alone,
// because the environment of a process cannot be changed safely while other
// threads may be reading it.
func copySoftHSM(dir, original string, lines []string) (Config, error) {
	library, err := os.ReadFile(original)
	if err != nil {
		return Config{}, fmt.Errorf("faultp11: %w", err)
	}
	conf, err := hsmtest.WriteConfig(dir, lines...)
	if err != nil {
		return Config{}, fmt.Errorf("faultp11: %w", err)
	}
	path := filepath.Join(dir, "softhsm.so")
	if err := os.WriteFile(path, library, 0o700); err != nil {
		return Config{}, fmt.Errorf("faultp11: %w", err)
	}
	return Config{Dir: dir, Module: path, Env: "SOFTHSM2_CONF=" + conf}, nil
}
