// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package hsmtest gives each test a PKCS#11 token of its own, on SoftHSM. It is
// for tests, examples and the demo only.
package hsmtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hsmtls/hsmtls-go/hsm"
)

// The PINs of every token made here.
const (
	PIN   = "123456"
	SOPIN = "12345678"
)

// modulePaths is where Debian, Fedora, Homebrew and plain builds install SoftHSM.
var modulePaths = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// Module returns the path of SoftHSM: $HSMTLS_TEST_MODULE, or one of the usual
// places. Without SoftHSM it skips the test, or fails it if $CI or
// $HSMTLS_REQUIRE_SOFTHSM is set.
func Module(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("HSMTLS_TEST_MODULE"); path != "" {
		return path
	}
	for _, path := range modulePaths {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	const missing = "SoftHSM is not installed: run scripts/deps, or set HSMTLS_TEST_MODULE"
	if os.Getenv("CI") != "" || os.Getenv("HSMTLS_REQUIRE_SOFTHSM") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

var store struct {
	sync.Once
	dir string
	err error
}

// Main runs the tests of a package and removes the token store they used. Call
// it from TestMain; the exit code is for os.Exit.
func Main(m *testing.M) int {
	defer func() { _ = os.RemoveAll(store.dir) }()
	return m.Run()
}

// useStore points SoftHSM, which reads its configuration when it is
// initialised, to one store for the whole test binary.
func useStore(t testing.TB) {
	t.Helper()
	store.Do(func() {
		if store.dir, store.err = os.MkdirTemp("", "hsmtest-"); store.err != nil {
			return
		}
		var conf string
		if conf, store.err = WriteConfig(store.dir, childLines()...); store.err == nil {
			store.err = os.Setenv("SOFTHSM2_CONF", conf)
		}
	})
	if store.err != nil {
		t.Fatal(store.err)
	}
}

// WriteConfig makes an empty SoftHSM token store in dir and returns the path of
// its configuration, for the environment variable SOFTHSM2_CONF. Lines are
// added to the configuration, such as "slots.mechanisms = CKM_RSA_PKCS".
func WriteConfig(dir string, lines ...string) (string, error) {
	tokens := filepath.Join(dir, "tokens")
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return "", err
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	for _, line := range lines {
		text += line + "\n"
	}
	return conf, os.WriteFile(conf, []byte(text), 0o600)
}

// Config initialises a token for this test and returns how to open it. Tokens
// share the process but nothing else: tests may run in parallel.
func Config(t testing.TB) hsm.Config {
	t.Helper()
	module := Module(t)
	useStore(t)
	label := "test-" + randomHex()
	_, err := hsm.Init(context.Background(), hsm.InitConfig{
		Module: module,
		Label:  label,
		SOPIN:  Secret(SOPIN),
		PIN:    Secret(PIN),
	})
	if err != nil {
		t.Fatal(err)
	}
	return hsm.Config{Module: module, Token: label, PIN: Secret(PIN)}
}

// Token initialises a token for this test and opens it until the test ends.
func Token(t testing.TB) *hsm.Token {
	t.Helper()
	return Open(t, Config(t))
}

// Open opens a token until the test ends.
func Open(t testing.TB, cfg hsm.Config) *hsm.Token {
	t.Helper()
	token, err := hsm.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = token.Close() })
	return token
}

// Secret is a PIN that stands in the source, which is for tests only.
func Secret(pin string) hsm.PIN {
	return hsm.PINFunc(func(context.Context) ([]byte, error) { return []byte(pin), nil })
}

func randomHex() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
