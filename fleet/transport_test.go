// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// A certificate that is renewed is presented by the next request: the connection
// that is idle meanwhile is not used any more.
func TestTransportAfterRenewal(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	s := e.terminal("0002")
	s.kill()
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	s.start(e.root.Server("0002." + suffix))
	client := &http.Client{Transport: e.fleet.Transport()}
	defer client.CloseIdleConnections()
	get := func() string {
		resp, err := client.Get("https://0002." + suffix)
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, "gateway", get())
	*e.fleet.Provider.Keys.(keys).cert = e.root.Client("gateway renewed")
	require.NoError(t, e.fleet.Provider.Refresh(t.Context()))
	require.Equal(t, "gateway renewed", get())
}
