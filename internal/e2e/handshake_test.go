// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// TestHandshakes makes one full and two resumed connections with each kind of
// key and counts what reaches the module: two calls per signature, one signature
// per side with a key in the token, nothing at all for a resumed handshake.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	for _, typ := range []keystore.KeyType{keystore.RSA2048, keystore.P256, keystore.P384} {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			s := newStation(t, setup{typ: typ})
			t.Run("both sides", s.bothSides)
			t.Run("client", s.clientSide)
			t.Run("server", s.serverSide)
			require.Zero(t, s.Misuse())
		})
	}
}

func (s *station) bothSides(t *testing.T) {
	server := s.listen(t, s.p)
	for _, resumes := range []bool{false, true, true} {
		conn, err := s.dial(t.Context(), s.p, server.addr)
		require.NoError(t, err)
		accepted := <-server.results
		require.NoError(t, accepted.err)
		s.requireReport(t, conn, terminal, acquirer, resumes)
		s.requireReport(t, accepted.conn, acquirer, terminal, resumes)
		s.requireSignatures(t, signatures(2, resumes))
	}
}

// requireReport asserts who is on both ends of conn, and why the other is trusted.
func (s *station) requireReport(t *testing.T, conn *tls.Conn, self, other string, resumed bool) {
	t.Helper()
	report, err := hsmtls.Report(conn)
	require.NoError(t, err)
	require.EqualValues(t, tls.VersionTLS12, report.Version)
	require.Equal(t, resumed, report.Resumed)
	require.True(t, report.ExtendedMasterSecret)
	require.Equal(t, self, report.Alias)
	require.Equal(t, s.publicKey(t, other), report.Peer.PublicKey)
	require.NotNil(t, report.Entry)
	require.Equal(t, resumed, report.ServerSignature == 0)
	require.Equal(t, resumed, report.ClientSignature == 0)
}

func signatures(full int, resumes bool) int {
	if resumes {
		return 0
	}
	return full
}

func (s *station) clientSide(t *testing.T) {
	server := s.peer(s.hosts.Server(loopback)).server(t)
	for _, resumes := range []bool{false, true, true} {
		conn, err := s.dial(t.Context(), s.p, server.addr)
		require.NoError(t, err)
		require.Equal(t, resumes, conn.ConnectionState().DidResume)
		s.requireSignatures(t, signatures(1, resumes))
	}
}

func (s *station) serverSide(t *testing.T) {
	server := s.listen(t, s.p)
	dial := s.peer(s.devices.Client("terminal 2")).dialer()
	for _, resumes := range []bool{false, true, true} {
		conn, err := dial(server.addr)
		require.NoError(t, err)
		require.Equal(t, resumes, conn.ConnectionState().DidResume)
		s.requireSignatures(t, signatures(1, resumes))
	}
}
