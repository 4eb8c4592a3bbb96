// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/x509"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// during runs f in the middle of the next change of the list: of a certificate that
// is added, or of one that is removed.
func (m *memory) during(adding bool, f func()) {
	done := false
	hook := func(*x509.Certificate) error {
		if !done {
			done = true
			m.mu.Unlock()
			defer m.mu.Lock()
			f()
		}
		return nil
	}
	if adding {
		m.set(hook, nil)
		return
	}
	m.set(nil, hook)
}

// TestRenewalDuringRevocation has a POS renew its certificate while it is being
// revoked: whichever comes first, nothing of it is left.
func TestRenewalDuringRevocation(t *testing.T) {
	t.Parallel()
	for name, adding := range map[string]bool{"renewal in revocation": false, "revocation in renewal": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			require.NoError(t, w.try(t.Context(), "1", w.tap(t), delivered))
			leaf := w.List()[0].Certificate
			good := `{"csr":` + quoted(t, csrOf(t)) + `}`
			renew := func() { requireRefusal(t, ask(w, "POST", RenewPath, good, as(leaf)), http.StatusServiceUnavailable) }
			revoke := func() { require.NoError(t, w.Revoke(t.Context(), "1")) }
			if adding {
				w.registry.during(true, revoke)
				renew()
			} else {
				w.registry.during(false, renew)
				revoke()
			}
			require.Empty(t, w.List(), "revoked for good")
		})
	}
}

// TestRenewalDuringPairing has whoever holds the old certificate of a POS renew it
// while the POS pairs again: that gives no way around the new pairing.
func TestRenewalDuringPairing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), delivered))
	old := w.List()[0].Certificate
	good := `{"csr":` + quoted(t, csrOf(t)) + `}`
	var fresh *x509.Certificate
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), func([]byte) error {
		fresh = w.List()[0].Certificate
		requireRefusal(t, ask(w, "POST", RenewPath, good, as(old)), http.StatusServiceUnavailable)
		return nil
	}))
	require.Len(t, w.List(), 1)
	require.True(t, w.List()[0].Certificate.Equal(fresh))
}

// TestUnusedRenewals has a POS renew without end and never use what it gets.
func TestUnusedRenewals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHandler, oldCA(t))
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), delivered))
	leaf := w.List()[0].Certificate
	good := `{"csr":` + quoted(t, csrOf(t)) + `}`
	for range 20 {
		require.Equal(t, http.StatusOK, ask(w, "POST", RenewPath, good, as(leaf)).Code)
	}
	require.LessOrEqual(t, len(w.List()), 4)
	require.Equal(t, http.StatusOK, ask(w, "GET", "/", "", as(leaf)).Code, "the present one is still good")
}
