// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// fingerprint identifies a certificate.
type fingerprint [sha256.Size]byte

func fingerprintOf(c *x509.Certificate) fingerprint { return sha256.Sum256(c.Raw) }

func (f fingerprint) String() string { return hex.EncodeToString(f[:]) }

// A journal remembers, across a restart, which certificates are listed and not
// yet known to be delivered: one fingerprint in a line. The zero journal
// remembers in memory only. It is safe for concurrent use.
type journal struct {
	path string

	mu   sync.Mutex
	open []fingerprint
}

// openJournal reads what a terminal left behind that did not come to the end. A
// line that is none is skipped: it may have been cut off.
func openJournal(path string) (*journal, error) {
	j := &journal{path: path}
	if path == "" {
		return j, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("pairing: journal: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("pairing: journal: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		var f fingerprint
		if n, err := hex.Decode(f[:], []byte(strings.TrimSpace(line))); err == nil && n == len(f) {
			j.open = append(j.open, f)
		}
	}
	return j, j.write() // that it cannot be written is better known now
}

// left returns what is not known to be delivered.
func (j *journal) left() []fingerprint {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.open)
}

// begin notes a certificate before it is listed.
func (j *journal) begin(f fingerprint) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open = append(j.open, f)
	return j.write()
}

// end strikes a certificate out: it is delivered, or not listed any more.
func (j *journal) end(f fingerprint) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	before := len(j.open)
	j.open = slices.DeleteFunc(j.open, func(o fingerprint) bool { return o == f })
	if len(j.open) == before {
		return nil
	}
	return j.write()
}

// write replaces the file in one step.
func (j *journal) write() error {
	if j.path == "" {
		return nil
	}
	var text strings.Builder
	for _, f := range j.open {
		text.WriteString(f.String() + "\n")
	}
	if err := writeFile(j.path, []byte(text.String())); err != nil {
		return fmt.Errorf("pairing: journal: %w", err)
	}
	return nil
}
