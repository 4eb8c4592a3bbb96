// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package faultp11_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// The tests here go through package hsm and hold what stays true however well
// it recovers: what it says of a token, and that a fresh Open mends everything.

func generate(t *testing.T, token *hsm.Token) *p11.Signer {
	t.Helper()
	id := make([]byte, 20)
	_, _ = rand.Read(id)
	key, err := token.Device().GenerateKey(t.Context(), p11.KeyTemplate{Label: "key", ID: id, Type: p11.P256})
	require.NoError(t, err)
	signer, err := token.Device().Signer(t.Context(), id, key.Public)
	require.NoError(t, err)
	return signer
}

func requireSigns(t *testing.T, signer *p11.Signer) {
	t.Helper()
	digest := sha256.Sum256([]byte("message"))
	sig, err := signer.Sign(nil, digest[:], crypto.SHA256)
	require.NoError(t, err)
	require.True(t, ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest[:], sig))
}

func TestCallsOfOpenAndSign(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := m.Config(t)
	signer := generate(t, hsmtest.Open(t, cfg))
	m.ResetCalls()
	second := faultp11.New(t)
	token := hsmtest.Open(t, second.Config(t))
	opened := second.Total()
	t.Log("Init and Open:", opened, second.CallTable())
	require.NotZero(t, opened)
	require.NoError(t, token.Close())
	require.Zero(t, second.Sessions())

	requireSigns(t, signer)
	t.Log("one signature:", m.Total(), m.CallTable())
	require.Equal(t, 1, m.Calls("C_SignInit"))
	require.Equal(t, 1, m.Calls("C_Sign"))
	require.Equal(t, faultp11.Misuse{}, m.Misuse())

	m.ResetCalls()
	fresh := faultp11.New(t)
	cfg = fresh.Config(t)
	fresh.ResetCalls()
	token = hsmtest.Open(t, cfg)
	t.Log("Open alone:", fresh.Total(), fresh.CallTable())
	require.Equal(t, 1, fresh.Calls("C_Login"))
	require.NoError(t, token.Close())
}

// TestFreshOpenMends holds that after every fault of a state a new Open finds
// the token as it was.
func TestFreshOpenMends(t *testing.T) {
	t.Parallel()
	for name, strike := range map[string]func(m *faultp11.Module){
		"sessions lost":      (*faultp11.Module).LoseSessions,
		"not initialised":    (*faultp11.Module).Uninitialise,
		"disconnected":       func(m *faultp11.Module) { m.Disconnect(faultp11.DeviceError) },
		"pulled out and in":  func(m *faultp11.Module) { m.Remove(); m.Insert() },
		"signatures failing": func(m *faultp11.Module) { m.Fail("C_Sign", 1, faultp11.GeneralError) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := faultp11.New(t)
			cfg := m.Config(t)
			token := hsmtest.Open(t, cfg)
			generate(t, token)
			strike(m)
			require.NoError(t, token.Close())
			m.Clear("C_Sign")
			token = hsmtest.Open(t, cfg)
			keys, err := token.Device().Keys(t.Context(), p11.Filter{})
			require.NoError(t, err)
			require.Len(t, keys, 1)
			signer, err := token.Device().Signer(t.Context(), keys[0].ID, keys[0].Public)
			require.NoError(t, err)
			requireSigns(t, signer)
		})
	}
}

func TestOpenRefused(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := m.Config(t)
	for name, f := range map[string]struct {
		strike func()
		want   error
	}{
		"PIN wrong":  {func() { m.Fail("C_Login", 1, faultp11.PINIncorrect) }, hsm.ErrPIN},
		"PIN locked": {func() { m.PINFlags(faultp11.UserPINLocked) }, hsm.ErrPINLocked},
		"last try":   {func() { m.PINFlags(faultp11.UserPINFinalTry, faultp11.UserPINCountLow) }, hsm.ErrPINFinalTry},
		"no token":   {func() { m.Remove() }, hsm.ErrNotFound},
		"no session": {func() { m.Fail("C_OpenSession", faultp11.ForEver, faultp11.SessionCount) }, hsm.ErrBusy},
		"not start":  {func() { m.Fail("C_Initialize", faultp11.ForEver, faultp11.DeviceError) }, &hsm.Error{Op: "C_Initialize", Code: faultp11.DeviceError}},
	} {
		m.Reset()
		f.strike()
		_, err := hsm.Open(t.Context(), cfg)
		var device *hsm.Error
		if want, ok := f.want.(*hsm.Error); ok {
			require.ErrorAs(t, err, &device, name)
			require.Equal(t, want, device, name)
			continue
		}
		require.ErrorIs(t, err, f.want, name)
	}
}

func TestHiddenMechanism(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := m.Config(t)
	m.Hide(uint(p11.RSAPKCSPSS))
	token := hsmtest.Open(t, cfg)
	require.False(t, token.Device().Mechanisms().Has(p11.RSAPKCSPSS))
	require.True(t, token.Device().Mechanisms().Has(p11.RSAPKCS))
}

// TestIndependent runs several SoftHSMs beside each other, and beside the plain
// one: each with its own tokens, C_Initialize and C_Finalize.
func TestIndependent(t *testing.T) {
	t.Parallel()
	plain := hsmtest.Config(t)
	modules := []*faultp11.Module{faultp11.New(t), faultp11.New(t), faultp11.New(t)}
	var wg sync.WaitGroup
	for _, m := range modules {
		wg.Go(func() {
			for range 4 {
				cfg := m.Config(t)
				token, err := hsm.Open(context.Background(), cfg)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := token.Random(context.Background(), 8); err != nil {
					t.Error(err)
				}
				_ = token.Close() // which finalises it
			}
		})
	}
	wg.Wait()
	for _, m := range modules {
		found, err := hsm.List(t.Context(), m.Path)
		require.NoError(t, err)
		require.Len(t, found, 4+1) // and the blank one that SoftHSM always has
		require.Zero(t, m.Sessions())
		require.Equal(t, faultp11.Misuse{}, m.Misuse())
	}
	found, err := hsm.List(t.Context(), plain.Module)
	require.NoError(t, err)
	for _, info := range found {
		require.NotContains(t, info.Label, "fault-")
	}
}

// TestInitialiseTogether holds that copies of SoftHSM do not get each other's
// configuration when they read it at the same time.
func TestInitialiseTogether(t *testing.T) {
	t.Parallel()
	many := slices.Repeat([]string{"slots.removable = false"}, 1000) // to be long about it
	tokens := make([]hsm.Config, 6)
	for i := range tokens {
		tokens[i] = faultp11.New(t, many...).Config(t)
	}
	var wg sync.WaitGroup
	for _, cfg := range tokens {
		wg.Go(func() {
			for range 50 {
				found, err := hsm.List(context.Background(), cfg.Module)
				if err != nil || len(found) != 2 || found[0].Label != cfg.Token && found[1].Label != cfg.Token {
					t.Errorf("want %s and a blank token, got %+v, %v", cfg.Token, found, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestManyInARow holds that no module is mistaken for one that was there before.
func TestManyInARow(t *testing.T) {
	t.Parallel()
	for i := range 40 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			m := faultp11.New(t)
			found, err := hsm.List(t.Context(), m.Path)
			require.NoError(t, err)
			require.Len(t, found, 1)
		})
	}
}

func TestSoftHSMConfiguration(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t, "slots.mechanisms = CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS")
	token := hsmtest.Open(t, m.Config(t))
	require.True(t, token.Device().Mechanisms().Has(p11.RSAPKCS))
	require.False(t, token.Device().Mechanisms().Has(p11.ECDSA))
}

// TestOverAnother stacks two fault modules: the outer sees the faults of the
// inner, as it would see those of any module.
func TestOverAnother(t *testing.T) {
	t.Parallel()
	inner := faultp11.New(t)
	outer := faultp11.Over(t, inner.Path)
	token := hsmtest.Open(t, outer.Config(t))
	inner.ResetCalls()
	outer.ResetCalls()
	requireSigns(t, generate(t, token))
	require.Equal(t, outer.CallTable(), inner.CallTable())
	require.NotZero(t, inner.Total())
}

func TestBuildFails(t *testing.T) {
	t.Parallel()
	_, err := faultp11.Build(faultp11.Config{Dir: t.TempDir(), Module: filepath.Join(t.TempDir(), "absent.so")})
	require.ErrorIs(t, err, os.ErrNotExist)
	dir := t.TempDir()
	m := faultp11.New(t)
	_, err = faultp11.Build(faultp11.Config{Dir: dir, Module: m.Path})
	require.NoError(t, err)
	_, err = faultp11.Build(faultp11.Config{Dir: dir, Module: m.Path})
	require.ErrorIs(t, err, os.ErrExist)

	notOne := filepath.Join(t.TempDir(), "text.so")
	require.NoError(t, os.WriteFile(notOne, []byte("no library"), 0o600))
	m = faultp11.Over(t, notOne)
	_, err = hsm.List(t.Context(), m.Path)
	require.Error(t, err)
}

// The process to kill: this test binary once more, which opens the token and
// writes a certificate.
const victim = "FAULTP11_VICTIM"

// TestKill kills another process at many of its calls, at a call of a function,
// and after one. This process, which steers it, lives.
func TestKill(t *testing.T) {
	t.Parallel()
	if label := os.Getenv(victim); label != "" {
		beVictim(t, label)
		return
	}
	m := faultp11.New(t)
	cfg := m.Config(t)
	m.ResetCalls()
	require.NoError(t, run(t, cfg))
	calls := m.Total()
	require.Equal(t, 1, m.Calls("C_CreateObject"))
	require.Equal(t, 1, objects(t, cfg))
	for n := 1; n <= calls/2; n += 3 { // threads may differ in the rest
		m.KillAt(n)
		_ = objects(t, cfg) // our own calls do not count
		m.ResetCalls()
		require.ErrorIs(t, run(t, cfg), errKilled)
		require.GreaterOrEqual(t, m.Total(), n)
	}
	m.KillPast(1)
	require.ErrorIs(t, run(t, cfg), errKilled)
	m.KillAt(0)

	before := objects(t, cfg)
	m.Inject("C_CreateObject", faultp11.Fault{Mode: faultp11.Kill})
	require.ErrorIs(t, run(t, cfg), errKilled)
	require.Equal(t, before, objects(t, cfg))
	m.Inject("C_CreateObject", faultp11.Fault{Mode: faultp11.KillAfter})
	require.ErrorIs(t, run(t, cfg), errKilled)
	require.Equal(t, before+1, objects(t, cfg))
	require.Zero(t, m.Sessions())

	m.Fail("C_Login", 1, faultp11.PINLocked) // which reaches it as well
	require.Error(t, run(t, cfg))
	require.Equal(t, 1, m.Hits("C_Login"))
	m.Inject("C_Initialize", faultp11.Fault{Mode: faultp11.Kill})
	require.Equal(t, before+1, objects(t, cfg))
}

var errKilled = fmt.Errorf("killed")

// run runs the victim to its end.
func run(t *testing.T, cfg hsm.Config) error {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$", "-test.count=1")
	cmd.Env = append(os.Environ(), victim+"="+cfg.Token, victim+"_MODULE="+cfg.Module)
	err := cmd.Run()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return errKilled
	}
	return err
}

func beVictim(t *testing.T, label string) {
	token := hsmtest.Open(t, hsm.Config{Module: os.Getenv(victim + "_MODULE"), Token: label, PIN: hsmtest.Secret(hsmtest.PIN)})
	_, err := token.Device().CreateCertificate(t.Context(), p11.CertificateTemplate{Label: "x", ID: []byte{1}, Value: certificate(t)})
	require.NoError(t, err)
	require.NoError(t, token.Close())
}

// objects opens the token in this process and counts its certificates.
func objects(t *testing.T, cfg hsm.Config) int {
	t.Helper()
	token, err := hsm.Open(t.Context(), cfg)
	require.NoError(t, err)
	defer token.Close()
	found, err := token.Device().Certificates(t.Context(), p11.Filter{})
	require.NoError(t, err)
	return len(found)
}

func certificate(t *testing.T) []byte {
	t.Helper()
	return testpki.NewRoot("root").Certificate.Raw
}

// TestCompiled holds that a missing compiler is named, and that a module which
// was compiled before needs none.
func TestCompiled(t *testing.T) {
	t.Parallel()
	built := faultp11.New(t).Path
	again := func(env ...string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSoftHSMConfiguration$", "-test.count=1")
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := again("HSMTLS_FAULTP11=", "CC=no-such-compiler")
	require.Error(t, err)
	require.Contains(t, out, "a C compiler is needed")
	out, err = again("CC=no-such-compiler", "HSMTLS_FAULTP11="+built)
	require.NoError(t, err, out)
	out, err = again("HSMTLS_FAULTP11=" + built + ".absent")
	require.Error(t, err)
	require.Contains(t, out, "$HSMTLS_FAULTP11")
}
