// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && unix

package hsm_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
)

// TestModuleHost has everything that loads a module done by a module host, and finds
// that this process has not loaded it.
func TestModuleHost(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	ctx := t.Context()
	cfg := hsm.Config{Module: m.Path, ModuleHost: os.Args[0], Token: "isolated", PIN: hsmtest.Secret(hsmtest.PIN)}
	_, err := hsm.Init(ctx, hsm.InitConfig{
		Module: m.Path, ModuleHost: cfg.ModuleHost, Label: cfg.Token,
		SOPIN: hsmtest.Secret(hsmtest.SOPIN), PIN: hsmtest.Secret("000000"),
	})
	require.NoError(t, err)
	_, err = hsm.UnblockPIN(ctx, cfg, hsmtest.Secret(hsmtest.SOPIN), cfg.PIN)
	require.NoError(t, err)
	found, err := cfg.List(ctx)
	require.NoError(t, err)
	require.Len(t, found, 2, "the token and a blank one")

	token := hsmtest.Open(t, cfg)
	require.NoError(t, token.Check(ctx))
	info, err := token.Info(ctx)
	require.NoError(t, err)
	require.Equal(t, found[0].Library, info.Library)
	require.NotZero(t, token.Status().HostPID)
	require.NotEqual(t, os.Getpid(), token.Status().HostPID)
	maps, err := os.ReadFile("/proc/self/maps")
	if err == nil { // on Linux
		require.NotContains(t, string(maps), m.Path+"\n")
	}
}

// TestServeModuleElsewhere: a process that nobody has started as a module host is
// none.
func TestServeModuleElsewhere(t *testing.T) {
	t.Parallel()
	require.Error(t, hsm.ServeModule())
}

func TestModuleHostThatIsNone(t *testing.T) {
	t.Parallel()
	cfg := hsmtest.Config(t)
	cfg.ModuleHost = "hsmtls-is-not-installed-under-this-name"
	_, err := hsm.Open(t.Context(), cfg)
	require.Error(t, err)
}
