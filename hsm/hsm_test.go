// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package hsm_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == hsm.ModuleHostArgument {
		if err := hsm.ServeModule(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(hsmtest.LeakFree(hsmtest.Main(m)))
}

func TestOpenByURI(t *testing.T) {
	t.Parallel()
	cfg := hsmtest.Config(t)
	pinFile := filepath.Join(t.TempDir(), "pin")
	require.NoError(t, os.WriteFile(pinFile, []byte(hsmtest.PIN+"\n"), 0o600))
	for name, uri := range map[string]string{
		"pin-source": "pkcs11:token=" + cfg.Token + "?module-path=" + cfg.Module + "&pin-source=file:" + pinFile,
		"pin-value":  "pkcs11:token=" + cfg.Token + "?module-path=" + cfg.Module + "&pin-value=" + hsmtest.PIN,
	} {
		token, err := hsm.Open(t.Context(), hsm.Config{URI: uri})
		require.NoError(t, err, name)
		require.NoError(t, token.Close())
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	cfg := hsmtest.Config(t)
	token := hsmtest.Open(t, cfg)
	info, err := token.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, cfg.Token, info.Label)
	require.NotEmpty(t, info.Serial)
	require.True(t, info.Initialized)
	require.Contains(t, info.Flags, "login required")
	require.Contains(t, info.Can, "sign with RSA-PSS")
	require.Contains(t, info.Mechanisms, "CKM_RSA_PKCS_PSS")

	tokens, err := hsm.List(t.Context(), cfg.Module)
	require.NoError(t, err)
	var labels []string
	for _, i := range tokens {
		labels = append(labels, i.Label)
	}
	require.Contains(t, labels, cfg.Token)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	good := hsmtest.Config(t)
	with := func(change func(*hsm.Config)) hsm.Config {
		cfg := good
		change(&cfg)
		return cfg
	}
	for _, tt := range []struct {
		name string
		cfg  hsm.Config
		want error
	}{
		{"wrong PIN", with(func(c *hsm.Config) { c.PIN = hsmtest.Secret("wrong!") }), hsm.ErrPIN},
		{"no PIN", with(func(c *hsm.Config) { c.PIN = hsm.PIN{} }), hsm.ErrNoPIN},
		{"unset variable", with(func(c *hsm.Config) { c.PIN = hsm.PINEnv("HSMTLS_TEST_UNSET") }), hsm.ErrNoPIN},
		{"absent token", with(func(c *hsm.Config) { c.Token = "no such token" }), hsm.ErrNotFound},
		{"label and serial of two", with(func(c *hsm.Config) { c.Serial = "0000" }), hsm.ErrNotFound},
		{"absent module", with(func(c *hsm.Config) { c.Module = "/no/such/module.so" }), os.ErrNotExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := hsm.Open(t.Context(), tt.cfg)
			require.ErrorIs(t, err, tt.want)
			require.NotContains(t, err.Error(), "wrong!")
		})
	}
	_, err := hsm.Open(t.Context(), hsm.Config{})
	require.Error(t, err)
	notAModule := filepath.Join(t.TempDir(), "text.so")
	require.NoError(t, os.WriteFile(notAModule, []byte("text"), 0o600))
	_, err = hsm.Open(t.Context(), with(func(c *hsm.Config) { c.Module = notAModule }))
	require.Error(t, err)
}

func TestAbsentTokenSaysWhatIsThere(t *testing.T) {
	t.Parallel()
	cfg := hsmtest.Config(t)
	there := cfg.Token
	cfg.Token = "no such token"
	_, err := hsm.Open(t.Context(), cfg)
	require.ErrorContains(t, err, there)
}

func TestInitRefusesToWipe(t *testing.T) {
	t.Parallel()
	cfg := hsmtest.Config(t)
	request := hsm.InitConfig{
		Module: cfg.Module, Token: cfg.Token, Label: cfg.Token + "-new",
		SOPIN: hsmtest.Secret(hsmtest.SOPIN), PIN: hsmtest.Secret("654321"),
	}
	_, err := hsm.Init(t.Context(), request)
	require.ErrorIs(t, err, hsm.ErrInitialized)
	hsmtest.Open(t, cfg).Close()

	// Blank tokens are left, but no second one with this label.
	second := request
	second.Token, second.Label = "", cfg.Token
	_, err = hsm.Init(t.Context(), second)
	require.ErrorIs(t, err, hsm.ErrInitialized)

	request.Wipe = true
	held := hsmtest.Open(t, cfg)
	_, err = hsm.Init(t.Context(), request)
	require.ErrorIs(t, err, hsm.ErrBusy)
	require.NoError(t, held.Close())

	wrong := request
	wrong.SOPIN = hsmtest.Secret("wrong officer")
	_, err = hsm.Init(t.Context(), wrong)
	require.ErrorIs(t, err, hsm.ErrPIN)
	hsmtest.Open(t, cfg).Close()

	info, err := hsm.Init(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, request.Label, info.Label)
	hsmtest.Open(t, hsm.Config{Module: cfg.Module, Token: request.Label, PIN: request.PIN})
}

func TestInitChecksItsInput(t *testing.T) {
	t.Parallel()
	good := hsm.InitConfig{Module: hsmtest.Module(t), Label: "x", SOPIN: hsmtest.Secret("12345678"), PIN: hsmtest.Secret("123456")}
	noLabel, longLabel, noPIN, noSOPIN := good, good, good, good
	noLabel.Label = ""
	longLabel.Label = "a label of more than thirty-two b"
	noPIN.PIN = hsm.PIN{}
	noSOPIN.SOPIN = hsmtest.Secret("")
	for _, cfg := range []hsm.InitConfig{noLabel, longLabel, noPIN, noSOPIN, {}} {
		_, err := hsm.Init(t.Context(), cfg)
		require.Error(t, err)
	}
}

// TestTwoTokensOfOneLabel has SoftHSM's own tool make the second one, because
// Init refuses to.
func TestTwoTokensOfOneLabel(t *testing.T) {
	if !hsmtest.Child(t) {
		return
	}
	cfg := hsmtest.Config(t)
	out, err := exec.Command("softhsm2-util", "--module", cfg.Module, "--init-token", "--free",
		"--label", cfg.Token, "--pin", hsmtest.PIN, "--so-pin", hsmtest.SOPIN).CombinedOutput()
	require.NoError(t, err, "%s", out)
	_, err = hsm.Open(t.Context(), cfg)
	require.ErrorIs(t, err, hsm.ErrAmbiguous)
	_, err = hsm.Open(t.Context(), hsm.Config{Module: cfg.Module, PIN: cfg.PIN})
	require.ErrorIs(t, err, hsm.ErrAmbiguous)

	tokens, err := hsm.List(t.Context(), cfg.Module)
	require.NoError(t, err)
	cfg.Serial = tokens[0].Serial
	info, err := hsmtest.Open(t, cfg).Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, cfg.Serial, info.Serial)
}

func TestPINs(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg := hsmtest.Config(t)
	token := hsmtest.Open(t, cfg)
	require.ErrorIs(t, token.SetPIN(ctx, hsmtest.Secret("wrong!"), hsmtest.Secret("654321")), hsm.ErrPIN)
	require.NoError(t, token.SetPIN(ctx, cfg.PIN, hsmtest.Secret("654321")))
	_, err := hsm.Open(ctx, cfg)
	require.ErrorIs(t, err, hsm.ErrPIN)
	cfg.PIN = hsmtest.Secret("654321")
	require.NoError(t, hsmtest.Open(t, cfg).Close())

	_, err = hsm.UnblockPIN(ctx, cfg, hsmtest.Secret(hsmtest.SOPIN), hsmtest.Secret("111111"))
	require.ErrorIs(t, err, hsm.ErrBusy)
	require.NoError(t, token.Close())
	_, err = hsm.UnblockPIN(ctx, cfg, hsmtest.Secret("wrong officer"), hsmtest.Secret("111111"))
	require.ErrorIs(t, err, hsm.ErrPIN)
	info, err := hsm.UnblockPIN(ctx, cfg, hsmtest.Secret(hsmtest.SOPIN), hsmtest.Secret("111111"))
	require.NoError(t, err)
	require.Equal(t, cfg.Token, info.Label)
	cfg.PIN = hsmtest.Secret("111111")
	hsmtest.Open(t, cfg)
}

func TestRandom(t *testing.T) {
	t.Parallel()
	b, err := hsmtest.Token(t).Random(t.Context(), 16)
	require.NoError(t, err)
	require.Len(t, b, 16)
	require.NotEqual(t, make([]byte, 16), b)
}

func TestClosed(t *testing.T) {
	t.Parallel()
	token := hsmtest.Token(t)
	require.NoError(t, token.Close())
	require.NoError(t, token.Close())
	_, err := token.Info(context.Background())
	require.ErrorIs(t, err, hsm.ErrClosed)
	_, err = token.Random(context.Background(), 1)
	require.ErrorIs(t, err, hsm.ErrClosed)
}
