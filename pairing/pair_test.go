// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto"
	"crypto/rsa"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// whoami is a handler that answers with the POS that asks, and echoes on a
// WebSocket.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p, ok := POSFrom(r.Context())
	if !ok {
		http.Error(w, "nobody", http.StatusInternalServerError)
		return
	}
	if !isUpgrade(r) {
		_, _ = io.WriteString(w, p.ID)
		return
	}
	conn, err := accept(w, r)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, text, err := conn.Read(r.Context())
		if err != nil || conn.Write(r.Context(), kind, text) != nil {
			return
		}
	}
})

func withHandler(t *Terminal) { t.Handler = whoami }

// get asks as the POS and returns status and body.
func get(t testing.TB, c *Client, b *Bundle) (int, string, error) {
	t.Helper()
	transport, err := c.Transport(b)
	require.NoError(t, err)
	defer transport.CloseIdleConnections()
	at, err := c.target()
	require.NoError(t, err)
	at.Scheme = "https"
	resp, err := (&http.Client{Transport: transport}).Get(at.String())
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func TestPair(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"https", "wss"} {
		for mode, key := range map[string]crypto.Signer{"seed": nil, "csr": newKey(t)} {
			t.Run(scheme+" "+mode, func(t *testing.T) {
				t.Parallel()
				w := serve(t, withHandler)
				c := w.pos(t, scheme)
				b, err := c.Pair(t.Context(), Request{POSID: "123", Code: w.tap(t), Key: key})
				require.NoError(t, err)

				require.Equal(t, "123", b.POSID())
				require.Len(t, b.Chain, 3)
				require.True(t, b.Root.Equal(w.pki.Certificate))
				_, isRSA := b.Key.(*rsa.PrivateKey)
				require.Equal(t, key == nil, isRSA)
				require.Eventually(t, func() bool { return w.State().Phase == PhasePaired }, 30*time.Second, time.Millisecond)
				require.Equal(t, "123", w.State().POSID)
				require.Len(t, w.List(), 1)
				require.Equal(t, "123", w.List()[0].ID)

				status, text, err := get(t, c, b)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, status)
				require.Equal(t, "123", text)
			})
		}
	}
}
