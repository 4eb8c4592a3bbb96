// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func readAll(t testing.TB, conn net.Conn) string {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	text, _ := io.ReadAll(conn)
	return string(text)
}

func oldCA(t testing.TB) func(*Terminal) {
	return func(x *Terminal) { x.Issuer = newIssuerAt(t, time.Now().Add(-time.Hour)) }
}

func TestRenew(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler, oldCA(t))
	c, b := w.paired(t, "till 4")
	same, err := c.Renew(t.Context(), b, nil)
	require.NoError(t, err)
	require.True(t, samePublicKey(b.Key.Public(), same.Key.Public()))
	require.True(t, same.Chain[0].NotBefore.After(b.Chain[0].NotBefore))
	require.Len(t, w.List(), 2, "the old one stays until the new one is used")
	_, text, err := get(t, c, b)
	require.NoError(t, err)
	require.Equal(t, "till 4", text)

	fresh, err := c.Renew(t.Context(), same, newKey(t))
	require.NoError(t, err)
	require.Len(t, w.List(), 2, "the first one went when the second asked")
	_, text, err = get(t, c, fresh)
	require.NoError(t, err)
	require.Equal(t, "till 4", text)
	require.Len(t, w.List(), 1)
	_, _, err = get(t, c, same)
	require.Error(t, err)

	_, err = c.Renew(t.Context(), &Bundle{Chain: b.Chain}, nil)
	require.ErrorIs(t, err, ErrIncomplete)
}

func TestRenewRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withHandler)
	require.NoError(t, w.try(t.Context(), "1", w.tap(t), delivered))
	leaf := w.List()[0].Certificate
	for name, test := range map[string]struct {
		method, body string
		status       int
	}{
		"GET":       {"GET", "", http.StatusMethodNotAllowed},
		"no csr":    {"POST", `{}`, http.StatusBadRequest},
		"bad csr":   {"POST", `{"csr":"x"}`, http.StatusBadRequest},
		"not JSON":  {"POST", `csr`, http.StatusBadRequest},
		"too large": {"POST", `{"csr":"` + string(make([]byte, maxRequest)), http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			requireRefusal(t, ask(w, test.method, RenewPath, test.body, as(leaf)), test.status)
		})
	}
	w.Issuer.Key = brokenSigner{w.Issuer.Key}
	good := `{"csr":` + quoted(t, csrOf(t)) + `}`
	requireRefusal(t, ask(w, "POST", RenewPath, good, as(leaf)), http.StatusServiceUnavailable)
	require.Len(t, w.List(), 1)
	limited := false
	for range 2 * rateBurst {
		limited = limited || ask(w, "POST", RenewPath, `{}`, as(leaf)).Code == http.StatusTooManyRequests
	}
	require.True(t, limited)
}
