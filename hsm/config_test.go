// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func secret(s string) PIN {
	return PINFunc(func(context.Context) ([]byte, error) { return []byte(s), nil })
}

func TestPINDoesNotPrint(t *testing.T) {
	t.Parallel()
	cfg := Config{Module: "m", PIN: secret("s3cret")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{cfg, &cfg, cfg.PIN, &cfg.PIN} {
			require.NotContains(t, fmt.Sprintf(verb, v), "s3cret")
		}
		require.Equal(t, redacted, fmt.Sprintf(verb, cfg.PIN))
	}
	b, err := json.Marshal(cfg.PIN)
	require.NoError(t, err)
	require.Equal(t, `"[redacted]"`, string(b))
	require.Error(t, json.Unmarshal([]byte(`"1234"`), new(PIN)))
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("open", "pin", cfg.PIN)
	require.NotContains(t, log.String(), "s3cret")
}

func TestPINFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		name, content string
		mode          os.FileMode
		want          string
		err           error
	}{
		{"plain", "1234", 0o600, "1234", nil},
		{"line break", "1234\n", 0o600, "1234", nil},
		{"line break of Windows", "1234\r\n", 0o400, "1234", nil},
		{"spaces belong to it", " 12 34 \n", 0o600, " 12 34 ", nil},
		{"group may read", "1234", 0o640, "", ErrPINFile},
		{"others may read", "1234", 0o604, "", ErrPINFile},
		{"others may write", "1234", 0o602, "", ErrPINFile},
		{"empty", "\n", 0o600, "", ErrNoPIN},
	} {
		path := filepath.Join(dir, tt.name)
		require.NoError(t, os.WriteFile(path, []byte(tt.content), 0o600))
		require.NoError(t, os.Chmod(path, tt.mode))
		got, err := PINFile(path).get(t.Context())
		require.ErrorIs(t, err, tt.err, tt.name)
		require.Equal(t, tt.want, string(got), tt.name)
	}
	long := filepath.Join(dir, "long")
	require.NoError(t, os.WriteFile(long, make([]byte, maxPIN+1), 0o600))
	_, err := PINFile(long).get(t.Context())
	require.Error(t, err)
	_, err = PINFile(filepath.Join(dir, "absent")).get(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestPINEnv(t *testing.T) {
	t.Setenv("HSMTLS_TEST_PIN", "1234")
	got, err := PINEnv("HSMTLS_TEST_PIN").get(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1234", string(got))
}

func TestURI(t *testing.T) {
	t.Parallel()
	slot := uint(3)
	for _, tt := range []struct {
		name string
		cfg  Config
		want Config
	}{
		{"all", Config{URI: "pkcs11:token=a%20b;serial=01;slot-id=3?module-path=/m.so"}, Config{Module: "/m.so", Token: "a b", Serial: "01", SlotID: &slot}},
		{"fields win", Config{URI: "pkcs11:token=a?module-path=/m.so", Module: "/n.so", Token: "b"}, Config{Module: "/n.so", Token: "b"}},
	} {
		got, err := tt.cfg.resolve()
		require.NoError(t, err, tt.name)
		got.URI, got.Logger = "", nil
		require.Equal(t, tt.want, got, tt.name)
	}
}

func TestURIRefused(t *testing.T) {
	t.Parallel()
	for name, uri := range map[string]string{
		"scheme":             "http:token=a?module-path=/m.so",
		"no module":          "pkcs11:token=a",
		"key attribute":      "pkcs11:token=a;object=key?module-path=/m.so",
		"vendor attribute":   "pkcs11:token=a?module-path=/m.so&max-sessions=4",
		"slot":               "pkcs11:slot-id=x?module-path=/m.so",
		"both PINs":          "pkcs11:token=a?module-path=/m.so&pin-source=/p&pin-value=1",
		"PIN from a command": "pkcs11:token=a?module-path=/m.so&pin-source=%7Ccat%20p",
		"PIN from the net":   "pkcs11:token=a?module-path=/m.so&pin-source=http://h/p",
	} {
		_, err := Config{URI: uri}.resolve()
		require.Error(t, err, name)
	}
}

func TestURIRefusalHidesPIN(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{"pkcs11:token=a?pin-value=s3%ZZcret", "pkcs11:token=a?PIN-VALUE=s3%ZZcret", "token=a?pin-value=s3cret"} {
		_, err := Config{URI: uri}.resolve()
		require.Error(t, err)
		for _, part := range []string{"s3", "ZZ", "cret"} {
			require.NotContains(t, err.Error(), part)
		}
	}
	_, err := Config{URI: "token=a"}.resolve()
	require.ErrorContains(t, err, `"token=a" lacks the scheme pkcs11`)
}

func TestURIWithPINIsWarnedAbout(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	cfg, err := Config{
		URI:    "pkcs11:token=a?module-path=/m.so&pin-value=s3cret",
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}.resolve()
	require.NoError(t, err)
	got, err := cfg.PIN.get(t.Context())
	require.NoError(t, err)
	require.Equal(t, "s3cret", string(got))
	require.Contains(t, log.String(), "WARN")
	require.NotContains(t, log.String(), "s3cret")
}

func TestConfigFromEnv(t *testing.T) {
	for _, name := range []string{"URI", "MODULE", "TOKEN", "SERIAL", "SLOT", "PIN_FILE"} {
		t.Setenv("HSMTLS_"+name, "")
	}
	cfg, err := ConfigFromEnv()
	require.NoError(t, err)
	require.Equal(t, Config{}, cfg)
	t.Setenv("HSMTLS_MODULE", "/m.so")
	t.Setenv("HSMTLS_TOKEN", "terminal")
	t.Setenv("HSMTLS_SLOT", "5")
	t.Setenv("HSMTLS_PIN_FILE", "/run/pin")
	cfg, err = ConfigFromEnv()
	require.NoError(t, err)
	require.Equal(t, "/m.so", cfg.Module)
	require.Equal(t, uint(5), *cfg.SlotID)
	require.False(t, cfg.PIN.IsZero())
	t.Setenv("HSMTLS_SLOT", "five")
	_, err = ConfigFromEnv()
	require.Error(t, err)
}
