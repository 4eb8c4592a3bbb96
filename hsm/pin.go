// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A PIN is a place a PIN comes from. It is asked when a login needs the PIN,
// and what it gave is overwritten afterwards. Whatever prints or encodes a PIN
// gets "[redacted]". The zero PIN has none to give.
type PIN struct {
	source func(context.Context) ([]byte, error)
}

// maxPIN bounds what is read from a PIN file: no token takes longer ones.
const maxPIN = 1024

// PINFile reads the PIN from a file, less one line break at its end. A file
// that its group or others may read is refused with [ErrPINFile]; on Linux, the bits of
// the group are not the group's where an access control list lets nobody but the owner
// and this process's user read, as with the credentials of systemd.
func PINFile(path string) PIN {
	return PIN{func(context.Context) ([]byte, error) { return readPINFile(path) }}
}

func readPINFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 && (mode&0o007 != 0 || !ownersOnly(f)) {
		return nil, fmt.Errorf("%w: %s has mode %04o, want 0600", ErrPINFile, path, mode)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPIN+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxPIN {
		clear(b)
		return nil, fmt.Errorf("%s is no PIN file: it is longer than %d bytes", path, maxPIN)
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r")), nil
}

// PINEnv takes the PIN from an environment variable. A variable that is not
// set is [ErrNoPIN].
func PINEnv(name string) PIN {
	return PIN{func(context.Context) ([]byte, error) {
		v, ok := os.LookupEnv(name)
		if !ok || v == "" {
			return nil, fmt.Errorf("%w: %s is not set", ErrNoPIN, name)
		}
		return []byte(v), nil
	}}
}

// PINFunc asks f. The slice it returns is overwritten after use.
func PINFunc(f func(context.Context) ([]byte, error)) PIN { return PIN{f} }

// IsZero reports whether there is no source.
func (p PIN) IsZero() bool { return p.source == nil }

func (p PIN) get(ctx context.Context) ([]byte, error) {
	if p.source == nil {
		return nil, p11.ErrNoPIN
	}
	b, err := p.source(ctx)
	if err == nil && len(b) == 0 {
		err = p11.ErrNoPIN
	}
	return b, err
}

const redacted = "[redacted]"

// Format prints "[redacted]" whatever the verb.
func (PIN) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalText gives "[redacted]", for JSON and its like.
func (PIN) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText refuses: a PIN does not belong in a configuration file.
func (*PIN) UnmarshalText([]byte) error {
	return errors.New("hsm: a PIN cannot be written into a configuration; name a pin file")
}
