// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == p11.HostArgument {
		serveModule()
	}
	os.Exit(hsmtest.LeakFree(hsmtest.Main(m)))
}

// config is a fresh token and how to open it here.
func config(t *testing.T) p11.Config {
	t.Helper()
	cfg := hsmtest.Config(t)
	return p11.Config{
		Module: cfg.Module,
		Select: p11.Selector{Label: cfg.Token},
		PIN:    pin(hsmtest.PIN),
	}
}

func pin(s string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(s), nil }
}

func open(t *testing.T, cfg p11.Config) p11.Token {
	t.Helper()
	token, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, token.Close()) })
	return token
}

func generate(t *testing.T, token p11.Token, typ p11.KeyType) p11.Key {
	t.Helper()
	id := make([]byte, 20)
	_, err := rand.Read(id)
	require.NoError(t, err)
	key, err := token.GenerateKey(t.Context(), p11.KeyTemplate{Label: "key", ID: id, Type: typ})
	require.NoError(t, err)
	return key
}

func TestGeneratedKeySignsAndDoesNothingElse(t *testing.T) {
	t.Parallel()
	token := open(t, config(t))
	for name, typ := range map[string]p11.KeyType{"RSA-2048": p11.RSA2048, "RSA-3072": p11.RSA3072, "P-256": p11.P256, "P-384": p11.P384} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := generate(t, token, typ)
			require.Equal(t, p11.Attributes{
				Sensitive: true, AlwaysSensitive: true, NeverExtractable: true, Local: true, Private: true, Sign: true,
			}, key.Attributes)
			signer, err := token.Signer(t.Context(), key.ID, key.Public)
			require.NoError(t, err)
			requireSigns(t, signer)
		})
	}
}

// requireSigns verifies signatures of every scheme a key can do.
func requireSigns(t *testing.T, signer *p11.Signer) {
	t.Helper()
	message := []byte("what is signed")
	digest := sha256.Sum256(message)
	switch public := signer.Public().(type) {
	case *rsa.PublicKey:
		sig, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
		require.NoError(t, err)
		require.NoError(t, rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], sig))
		sig, err = signer.SignMessage(rand.Reader, message, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
		require.NoError(t, err)
		require.NoError(t, rsa.VerifyPSS(public, crypto.SHA256, digest[:], sig, &rsa.PSSOptions{SaltLength: 32}))
	case *ecdsa.PublicKey:
		sig, err := signer.SignMessage(rand.Reader, message, crypto.SHA256)
		require.NoError(t, err)
		require.True(t, ecdsa.VerifyASN1(public, digest[:], sig))
	default:
		t.Fatalf("public key is a %T", public)
	}
}

func TestTokenThatInsistsOnHashing(t *testing.T) {
	if !hsmtest.Child(t, "slots.mechanisms = CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_SHA256_RSA_PKCS,CKM_SHA384_RSA_PKCS_PSS") {
		return
	}
	token := open(t, config(t))
	key := generate(t, token, p11.RSA2048)
	public := key.Public.(*rsa.PublicKey)
	signer, err := token.Signer(t.Context(), key.ID, public)
	require.NoError(t, err)
	message := []byte("what is signed")

	sig, err := signer.SignMessage(nil, message, crypto.SHA256)
	require.NoError(t, err)
	digest := sha256.Sum256(message)
	require.NoError(t, rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], sig))

	opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA384}
	sig, err = signer.SignMessage(nil, message, opts)
	require.NoError(t, err)
	h := crypto.SHA384.New()
	h.Write(message)
	require.NoError(t, rsa.VerifyPSS(public, crypto.SHA384, h.Sum(nil), sig, opts))

	_, err = signer.Sign(nil, digest[:], crypto.SHA256)
	require.ErrorIs(t, err, p11.ErrUnsupported)
}

func TestSignerMustBeTheExpectedKey(t *testing.T) {
	t.Parallel()
	token := open(t, config(t))
	key := generate(t, token, p11.P256)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)

	impostor, err := token.Signer(t.Context(), key.ID, other.Public())
	require.NoError(t, err)
	_, err = impostor.SignMessage(nil, nil, crypto.SHA256)
	require.ErrorIs(t, err, p11.ErrKeyMismatch)
	_, err = token.Signer(t.Context(), []byte("no such id"), key.Public)
	require.ErrorIs(t, err, p11.ErrKeyNotFound)
	_, err = token.Signer(t.Context(), nil, key.Public)
	require.ErrorIs(t, err, p11.ErrKeyNotFound)

	_, err = token.ImportKey(t.Context(), p11.KeyTemplate{Label: "twin", ID: key.ID}, other)
	require.ErrorIs(t, err, p11.ErrKeyAmbiguous)
	_, err = token.Signer(t.Context(), key.ID, key.Public)
	require.ErrorIs(t, err, p11.ErrKeyAmbiguous)
}

func TestDestroyedKeyDoesNotSign(t *testing.T) {
	t.Parallel()
	token := open(t, config(t))
	key := generate(t, token, p11.P256)
	signer, err := token.Signer(t.Context(), key.ID, key.Public)
	require.NoError(t, err)
	require.NoError(t, token.Destroy(t.Context(), key.Objects()...))
	keys, err := token.Keys(t.Context(), p11.Filter{ID: key.ID})
	require.NoError(t, err)
	require.Empty(t, keys)
	_, err = signer.SignMessage(nil, nil, crypto.SHA256)
	require.ErrorIs(t, err, p11.ErrKeyNotFound)
}

func TestImportedKeyIsMarked(t *testing.T) {
	t.Parallel()
	token := open(t, config(t))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for id, foreign := range map[string]crypto.Signer{"rsa": rsaKey, "ec": ecKey} {
		key, err := token.ImportKey(t.Context(), p11.KeyTemplate{Label: id, ID: []byte(id)}, foreign)
		require.NoError(t, err)
		require.False(t, key.Local)
		require.False(t, key.AlwaysSensitive)
		require.False(t, key.Extractable)
		signer, err := token.Signer(t.Context(), key.ID, foreign.Public())
		require.NoError(t, err)
		requireSigns(t, signer)
	}
	_, err = token.ImportKey(t.Context(), p11.KeyTemplate{Label: "x", ID: []byte("x")}, "no key")
	require.ErrorIs(t, err, p11.ErrUnsupported)
}

func TestCertificateObjects(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	token := open(t, config(t))
	ca := testpki.NewRoot("root").Certificate

	made, err := token.CreateCertificate(ctx, p11.CertificateTemplate{
		Label: "ca", ID: []byte{1}, Value: ca.Raw, Category: p11.CategoryAuthority, Private: true,
	})
	require.NoError(t, err)
	require.True(t, made.Private)
	require.False(t, made.Trusted)
	require.Equal(t, p11.CategoryAuthority, made.Category)
	require.Equal(t, ca.Raw, made.Value)

	for name, filter := range map[string]p11.Filter{
		"all": {}, "label": {Label: "ca"}, "id": {ID: []byte{1}}, "subject": {Subject: ca.RawSubject}, "both": {Label: "ca", ID: []byte{1}},
	} {
		found, err := token.Certificates(ctx, filter)
		require.NoError(t, err, name)
		require.Len(t, found, 1, name)
		require.Equal(t, made.Value, found[0].Value, name)
	}
	found, err := token.Certificates(ctx, p11.Filter{Label: "c"})
	require.NoError(t, err)
	require.Empty(t, found)

	require.NoError(t, token.Destroy(ctx, made.Object))
	var code *p11.Error
	require.ErrorAs(t, token.Destroy(ctx, made.Object), &code)
	require.Equal(t, "C_DestroyObject", code.Op)

	_, err = token.CreateCertificate(ctx, p11.CertificateTemplate{Label: "junk", Value: []byte("no certificate")})
	require.Error(t, err)
	_, err = token.CreateCertificate(ctx, p11.CertificateTemplate{Value: ca.Raw})
	require.Error(t, err)
	found, err = token.Certificates(ctx, p11.Filter{})
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestObjectsOfAnEarlierOpening(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	first, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	key := generate(t, first, p11.P256)
	require.NoError(t, first.Close())
	second := open(t, cfg)
	require.ErrorIs(t, second.Destroy(t.Context(), key.Objects()...), p11.ErrStale)
	keys, err := second.Keys(t.Context(), p11.Filter{})
	require.NoError(t, err)
	require.Len(t, keys, 1)
}

func TestOneLoginForAll(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	first := open(t, cfg)
	key := generate(t, first, p11.P256)

	wrong := cfg
	wrong.PIN = pin("wrong!")
	_, err := p11.Open(t.Context(), wrong)
	require.ErrorIs(t, err, p11.ErrPIN)

	second, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	signer, err := second.Signer(t.Context(), key.ID, key.Public)
	require.NoError(t, err)
	require.NoError(t, second.Close())
	require.NoError(t, second.Close())
	_, err = signer.SignMessage(nil, nil, crypto.SHA256)
	require.ErrorIs(t, err, p11.ErrClosed)

	again, err := first.Signer(t.Context(), key.ID, key.Public)
	require.NoError(t, err)
	requireSigns(t, again)
}

func TestCloseLogsOut(t *testing.T) {
	t.Parallel()
	keeper := open(t, config(t)) // keeps the module running
	cfg := config(t)
	token, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, token.Close())
	cfg.PIN = pin("wrong!")
	_, err = p11.Open(t.Context(), cfg)
	require.ErrorIs(t, err, p11.ErrPIN)
	_, err = keeper.Info(t.Context())
	require.NoError(t, err)
}

func TestWrongPINIsTriedOnce(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	asked := 0
	cfg.PIN = func(context.Context) ([]byte, error) { asked++; return []byte("wrong!"), nil }
	_, err := p11.Open(t.Context(), cfg)
	require.ErrorIs(t, err, p11.ErrPIN)
	var code *p11.Error
	require.ErrorAs(t, err, &code)
	require.Equal(t, "C_Login", code.Op)
	require.Equal(t, 1, asked)

	cfg.PIN = nil
	_, err = p11.Open(t.Context(), cfg)
	require.ErrorIs(t, err, p11.ErrNoPIN)
	cfg.PIN = pin("")
	_, err = p11.Open(t.Context(), cfg)
	require.ErrorIs(t, err, p11.ErrNoPIN)
}

func TestPINIsOverwritten(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	secret := []byte(hsmtest.PIN)
	cfg.PIN = func(context.Context) ([]byte, error) { return secret, nil }
	open(t, cfg)
	require.Equal(t, make([]byte, len(secret)), secret)
}

func TestUseAfterClose(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	token, err := p11.Open(ctx, config(t))
	require.NoError(t, err)
	require.NoError(t, token.Close())
	for name, use := range map[string]func() error{
		"Info":         func() error { _, err := token.Info(ctx); return err },
		"Random":       func() error { _, err := token.Random(ctx, 1); return err },
		"Certificates": func() error { _, err := token.Certificates(ctx, p11.Filter{}); return err },
		"Keys":         func() error { _, err := token.Keys(ctx, p11.Filter{}); return err },
		"Signer":       func() error { _, err := token.Signer(ctx, []byte{1}, &rsa.PublicKey{}); return err },
		"Destroy":      func() error { return token.Destroy(ctx) },
		"GenerateKey": func() error {
			_, err := token.GenerateKey(ctx, p11.KeyTemplate{Label: "a", ID: []byte{1}, Type: p11.P256})
			return err
		},
		"SetPIN": func() error { return token.SetPIN(ctx, []byte(hsmtest.PIN), []byte("654321")) },
	} {
		require.ErrorIs(t, use(), p11.ErrClosed, name)
	}
}

func TestCancelledContext(t *testing.T) {
	t.Parallel()
	token := open(t, config(t))
	key := generate(t, token, p11.P256)
	signer, err := token.Signer(t.Context(), key.ID, key.Public)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = token.Keys(ctx, p11.Filter{})
	require.ErrorIs(t, err, context.Canceled)
	digest := sha256.Sum256(nil)
	_, err = signer.SignContext(ctx, digest[:], crypto.SHA256)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOtherSpellingOfThePath(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	open(t, cfg)
	link := filepath.Join(t.TempDir(), "link.so")
	require.NoError(t, os.Symlink(cfg.Module, link))
	cfg.Module = link
	open(t, cfg)
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	cfg.Sessions = 2
	token := open(t, cfg)
	key := generate(t, token, p11.P256)
	signer, err := token.Signer(t.Context(), key.ID, key.Public)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				sig, err := signer.SignMessage(nil, []byte("m"), crypto.SHA256)
				digest := sha256.Sum256([]byte("m"))
				if err != nil || !ecdsa.VerifyASN1(key.Public.(*ecdsa.PublicKey), digest[:], sig) {
					t.Errorf("signature does not verify: %v", err)
				}
				if _, err := token.Keys(t.Context(), p11.Filter{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// Others come and go meanwhile.
	for range 3 {
		other, err := p11.Open(t.Context(), config(t))
		require.NoError(t, err)
		require.NoError(t, other.Close())
	}
	wg.Wait()
}

func TestRandom(t *testing.T) {
	t.Parallel()
	token := open(t, config(t))
	a, err := token.Random(t.Context(), 32)
	require.NoError(t, err)
	b, err := token.Random(t.Context(), 32)
	require.NoError(t, err)
	require.Len(t, a, 32)
	require.False(t, bytes.Equal(a, b))
	none, err := token.Random(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, none)
}

// TestWipeBesideAnOpenToken wipes a token that was open while another one stays open.
func TestWipeBesideAnOpenToken(t *testing.T) {
	if !hsmtest.Child(t) {
		return
	}
	cfg, other := config(t), config(t)
	first, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	second := open(t, other)
	require.NoError(t, first.Close())
	_, err = p11.InitToken(t.Context(), p11.InitRequest{
		Module: cfg.Module, Select: cfg.Select, Label: "wiped", Wipe: true,
		SOPIN: []byte(hsmtest.SOPIN), PIN: []byte("654321"),
	})
	require.NoError(t, err)
	generate(t, second, p11.P256)
}
