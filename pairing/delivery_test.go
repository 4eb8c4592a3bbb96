// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errBroken = errors.New("broken")

// try pairs with a reply that goes through deliver.
func (w *world) try(ctx context.Context, posID string, code Code, deliver func([]byte) error) error {
	return w.exchange("192.0.2.1:1", deliver).pair(ctx, request{posID: posID, code: code})
}

func delivered([]byte) error { return nil }

func TestListedBeforeDelivery(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var during int
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), func([]byte) error {
		during = len(w.List())
		return nil
	}))
	require.Equal(t, 1, during)
}

func TestUndeliveredIsNotListed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(w *world)
		deliver func([]byte) error
		want    error
	}{
		"reply lost":       {deliver: func([]byte) error { return errBroken }, want: errDelivery},
		"list fails":       {prepare: func(w *world) { w.registry.set(func(*x509.Certificate) error { return errBroken }, nil) }, deliver: delivered, want: errBroken},
		"token gone":       {prepare: func(w *world) { w.Issuer.Key = brokenSigner{w.Issuer.Key} }, deliver: delivered},
		"journal unusable": {prepare: func(w *world) { w.state().journal.path = "/nonexistent/journal" }, deliver: delivered, want: os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			code := w.tap(t)
			if test.prepare != nil {
				test.prepare(w)
			}
			err := w.try(t.Context(), "1", code, test.deliver)
			require.Error(t, err)
			if test.want != nil {
				require.ErrorIs(t, err, test.want)
			}
			require.Equal(t, http.StatusServiceUnavailable, refusalOf(err).status)
			require.Empty(t, w.List())
			require.Equal(t, PhaseShowing, w.State().Phase, "another code is shown")
			require.NotEqual(t, code, w.State().Code)
			require.Equal(t, 0, w.State().Burnt)
		})
	}
}

func TestHungUpPOSIsNotListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	added := false
	w.registry.set(func(*x509.Certificate) error { added = true; return nil }, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := w.try(ctx, "1", w.tap(t), delivered)
	require.Error(t, err)
	require.False(t, added)
}

func TestWithdrawalFails(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	w := newWorld(t, func(t *Terminal) { t.Journal = path })
	w.registry.set(nil, func(*x509.Certificate) error { return errBroken })
	err := w.try(t.Context(), "1", w.tap(t), func([]byte) error { return context.Canceled })
	require.ErrorIs(t, err, errBroken)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, w.List(), 1)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, fingerprintOf(w.List()[0].Certificate).String()+"\n", string(text), "the next start takes care of it")
}

func TestPairingAgainRetiresTheOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), delivered))
	require.NoError(t, w.try(t.Context(), "2", w.tap(t), delivered))
	first := w.of("1")[0]

	// not before the new one was delivered
	require.Error(t, w.try(t.Context(), "1", w.tap(t), func([]byte) error {
		require.Len(t, w.of("1"), 2)
		return errBroken
	}))
	require.Equal(t, []*x509.Certificate{first}, w.of("1"))

	require.NoError(t, w.try(t.Context(), "1", w.tap(t), func([]byte) error {
		require.Len(t, w.of("1"), 2)
		return nil
	}))
	require.Len(t, w.of("1"), 1)
	require.False(t, first.Equal(w.of("1")[0]))
	require.Len(t, w.of("2"), 1)
}

// TestRetiringFails leaves two certificates; the use of the new one ends that.
func TestRetiringFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHandler, oldCA(t))
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), delivered))
	old := w.of("1")[0]
	w.registry.set(nil, func(*x509.Certificate) error { return errBroken })
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), delivered))
	require.Len(t, w.of("1"), 2)
	newer := w.List()[0].Certificate
	require.Equal(t, http.StatusOK, ask(w, "GET", "/", "", as(newer)).Code)
	require.Len(t, w.of("1"), 2, "it fails again")
	w.registry.set(nil, nil)

	require.Equal(t, http.StatusOK, ask(w, "GET", "/", "", as(old)).Code)
	require.Len(t, w.of("1"), 2, "the old one proves nothing")
	require.Equal(t, http.StatusOK, ask(w, "GET", "/", "", as(newer)).Code)
	require.Equal(t, []*x509.Certificate{newer}, w.of("1"))
	requireRefusal(t, ask(w, "GET", "/", "", as(old)), http.StatusForbidden)
}

// TestRestart stops a terminal between listing and delivering.
func TestRestart(t *testing.T) {
	t.Parallel()
	for name, used := range map[string]bool{"the POS got it": true, "the POS did not get it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "journal")
			w := newWorld(t, withHandler, func(t *Terminal) { t.Journal = path })
			require.NoError(t, w.try(t.Context(), "other", w.tap(t), delivered))
			var at string
			require.NoError(t, w.try(t.Context(), "1", w.tap(t), func([]byte) error {
				text, err := os.ReadFile(path)
				require.NoError(t, err)
				at = string(text)
				return nil
			}))
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Empty(t, text, "nothing is open")
			require.NoError(t, os.WriteFile(path, []byte(at+"half a li"), 0o600))

			synctest.Test(t, func(t *testing.T) {
				again := &Terminal{Issuer: w.Issuer, Registry: w.registry, Journal: path, Handler: whoami}
				require.Len(t, again.List(), 2)
				_ = again.State() // starts
				if used {
					require.Equal(t, http.StatusOK, ask(again, "GET", "/", "", as(again.of("1")[0])).Code)
				}
				time.Sleep(doubtPeriod + time.Second)
				synctest.Wait()
				require.Equal(t, used, len(again.of("1")) == 1)
				require.Len(t, again.of("other"), 1)
				text, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Empty(t, text)
				require.NoError(t, again.Close())
			})
		})
	}
}

func TestJournalOfUnlisted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	require.NoError(t, os.WriteFile(path, []byte(fingerprint{1}.String()+"\n"), 0o600))
	w := newWorld(t, func(t *Terminal) { t.Journal = path })
	_ = w.State()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Empty(t, text)
}

func TestJournalComesIntoBeing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "journal")
	w := newWorld(t, func(t *Terminal) { t.Journal = path })
	_ = w.State()
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
}

func TestJournalUnreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(x *Terminal) { x.Journal = t.TempDir() })
	require.Error(t, w.GenerateCode())
	requireRefusal(t, ask(w, "POST", "/", body("1", newCode())), http.StatusServiceUnavailable)
}
