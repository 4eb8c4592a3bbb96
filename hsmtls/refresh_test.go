// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRefresh renews the server's certificate under a running listener and a
// bare configuration.
func TestRefresh(t *testing.T) {
	t.Parallel()
	for _, bare := range []bool{false, true} {
		w := newWorld(t)
		s := w.serve(t, bare)
		client := w.stockClient(t, tls.VersionTLS12)
		require.False(t, client.resumed(t, s))
		require.True(t, client.resumed(t, s))

		renewed := w.root.Server(host)
		w.keys.set(acquirer, renewed)
		require.True(t, client.resumed(t, s), "not before Refresh")
		require.NoError(t, w.server.Refresh(t.Context()))
		require.False(t, client.resumed(t, s), "the old certificate's session ends")

		w.keys.remove(acquirer)
		err := w.server.Refresh(t.Context())
		require.ErrorIs(t, err, ErrIncomplete)
		require.ErrorIs(t, err, errUnknownAlias)
		conn, err := tls.Dial("tcp", s.addr, client.cfg)
		require.NoError(t, err, "it keeps what it has")
		require.Equal(t, renewed.Leaf.SerialNumber, conn.ConnectionState().PeerCertificates[0].SerialNumber)
		ping(t, conn)
		require.NoError(t, conn.Close())
	}
	require.ErrorIs(t, new(Provider).Refresh(t.Context()), ErrIncomplete)
}

// TestRefreshClient renews the certificate of a bare client configuration.
func TestRefreshClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	cfg, err := w.client.ClientConfig(t.Context(), terminal)
	require.NoError(t, err)
	cfg.ServerName = host
	w.keys.set(terminal, w.root.Client("terminal 1 renewed"))
	for _, want := range []string{"terminal 1", "terminal 1 renewed"} {
		conn, err := tls.Dial("tcp", s.addr, cfg)
		require.NoError(t, err)
		ping(t, conn)
		require.NoError(t, conn.Close())
		require.Equal(t, want, (<-s.state).PeerCertificates[0].Subject.CommonName)
		require.NoError(t, w.client.Refresh(t.Context()))
	}
}
