// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hsmtls/hsmtls-go/hsm"
)

// noJournal is the value of --journal for a terminal that remembers nothing.
const noJournal = "none"

const journalHelp = `--journal keeps, in a small file, which certificates are being delivered, so that a
restart in that moment leaves no POS on the list that does not have its certificate. It
is made, with its folder, for its owner's eyes only. If it is not given there is one for
the token in the folder hsmtls of $XDG_STATE_HOME; without that variable in
/var/lib/hsmtls for root, and in ~/.local/state/hsmtls for anybody else.`

var errNoState = errors.New("no folder for the journal is known")

// journalPath is where a terminal with this token has its journal; empty for none.
func journalPath(given string, token hsm.Info) (string, error) {
	switch given {
	case noJournal:
		return "", nil
	case "":
	default:
		return given, nil
	}
	dir, err := stateDir()
	if err != nil {
		return "", err
	}
	id := sha256.Sum256([]byte(strings.Join([]string{token.Manufacturer, token.Model, token.Serial, token.Label}, "\x00")))
	return filepath.Join(dir, fmt.Sprintf("pairing-%x.journal", id[:8])), nil
}

// stateDir is as in the XDG base directory specification, which says nothing of
// root.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "hsmtls"), nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/hsmtls", nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", errNoState
	}
	return filepath.Join(home, ".local", "state", "hsmtls"), nil
}
