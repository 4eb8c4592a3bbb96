// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func bundleFor(t testing.TB, key crypto.Signer) *Bundle {
	t.Helper()
	chain, err := newIssuer(t).Issue("123", key.Public(), time.Now())
	require.NoError(t, err)
	return &Bundle{Key: key, Chain: chain, Root: testpki.NewRoot("vendor root").Certificate}
}

func requireSame(t testing.TB, dir string, b *Bundle) {
	t.Helper()
	got, err := LoadBundle(dir)
	require.NoError(t, err)
	require.Equal(t, b.Chain[0].Raw, got.Chain[0].Raw)
	require.Equal(t, b.Root.Raw, got.Root.Raw)
	require.True(t, samePublicKey(b.Key.Public(), got.Key.Public()))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), e.Name())
	}
	_, err = tls.LoadX509KeyPair(filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem"))
	require.NoError(t, err, "others can read it")
}

func TestSave(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]crypto.Signer{"RSA": posKey1(), "ECDSA": newKey(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, parent := bundleFor(t, key), t.TempDir()
			dir := filepath.Join(parent, "pos")
			require.NoError(t, b.Save(dir))
			requireSame(t, dir, b)
			info, err := os.Stat(dir)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

			next := bundleFor(t, key)
			require.NoError(t, next.Save(dir), "again")
			requireSame(t, dir, next)
			require.NoError(t, next.Save(t.TempDir()), "an empty folder")
			left, err := os.ReadDir(parent)
			require.NoError(t, err)
			require.Len(t, left, 1)
		})
	}
}

// TestSaveKeyElsewhere keeps no key, nor the one that was there.
func TestSaveKeyElsewhere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pos")
	require.NoError(t, bundleFor(t, newKey(t)).Save(dir))
	b := bundleFor(t, brokenSigner{newKey(t)})
	require.NoError(t, b.Save(dir))
	got, err := LoadBundle(dir)
	require.NoError(t, err)
	require.Nil(t, got.Key)
	require.NoFileExists(t, filepath.Join(dir, "key.pem"))
}

// TestSaveInterrupted stops at every point between two bundles.
func TestSaveInterrupted(t *testing.T) {
	t.Parallel()
	for moved := range 4 {
		parent := t.TempDir()
		dir := filepath.Join(parent, "pos")
		old, next := bundleFor(t, newKey(t)), bundleFor(t, newKey(t))
		require.NoError(t, old.Save(dir))
		files, err := next.files()
		require.NoError(t, err)
		require.NoError(t, newFolder(filepath.Join(dir, nextFolder), files))
		require.NoError(t, replaceFiles(dir, files[:moved]))
		got, err := LoadBundle(dir)
		require.NoError(t, err)
		require.Equal(t, next.Chain[0].Raw, got.Chain[0].Raw)

		require.Error(t, (&Bundle{}).Save(dir))
		require.NoError(t, os.Mkdir(filepath.Join(dir, nextFolder+"-done"), 0o700))
		last := bundleFor(t, newKey(t))
		require.NoError(t, last.Save(dir))
		requireSame(t, dir, last)
	}
}

func TestSaveFails(t *testing.T) {
	t.Parallel()
	b := bundleFor(t, newKey(t))
	require.Error(t, b.Save(filepath.Join(t.TempDir(), "no", "such")))
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	require.Error(t, b.Save(path))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
	require.ErrorIs(t, (&Bundle{Chain: b.Chain}).Save(t.TempDir()), ErrIncomplete)
	require.ErrorIs(t, (&Bundle{Root: b.Root}).Save(t.TempDir()), ErrIncomplete)
}

func TestLoadBundleRefused(t *testing.T) {
	t.Parallel()
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, bundleFor(t, newKey(t)).Save(other))
	for name, test := range map[string]struct {
		file string
		text []byte
		want error
	}{
		"other's key": {"key.pem", mustRead(t, filepath.Join(other, "key.pem")), ErrBundle},
		"no key":      {"key.pem", []byte("x"), ErrBundle},
		"bad PKCS #1": {"key.pem", []byte("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"), ErrBundle},
		"bad PKCS #8": {"key.pem", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), ErrBundle},
		"chain":       {"chain.pem", []byte("x"), ErrBundle},
		"root":        {"root.pem", []byte("x"), ErrRoot},
		"chain gone":  {"chain.pem", nil, os.ErrNotExist},
		"root gone":   {"root.pem", nil, os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "pos")
			require.NoError(t, bundleFor(t, newKey(t)).Save(dir))
			path := filepath.Join(dir, test.file)
			require.NoError(t, os.Remove(path))
			if test.text != nil {
				require.NoError(t, os.WriteFile(path, test.text, 0o600))
			}
			_, err := LoadBundle(dir)
			require.ErrorIs(t, err, test.want)
		})
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}
