// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// enrolment serves w's server for strangers too.
func (w *world) enrolment(t *testing.T) *echoServer {
	t.Helper()
	l := ListenConfig{Provider: w.server, Alias: acquirer, AllowNoClientCertificate: true}
	ln, err := l.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return echo(t, ln)
}

func TestStranger(t *testing.T) {
	t.Parallel()
	for _, tls13 := range []bool{false, true} {
		w := newWorld(t)
		w.client.Policy.AllowTLS13, w.server.Policy.AllowTLS13 = tls13, tls13
		w.client.Keys = nil
		w.server.VerifyPeer = func(tls.ConnectionState) error { return errors.New("asked about a stranger") }
		s := w.enrolment(t)
		d := &Dialer{Provider: w.client, NoClientCertificate: true}
		for range 2 {
			conn, err := d.DialContext(t.Context(), "tcp", s.addr)
			require.NoError(t, err)
			ping(t, conn)
			client, err := Report(conn)
			require.NoError(t, err)
			require.Empty(t, client.Alias)
			require.Equal(t, host, client.Peer.DNSNames[0])
			server, err := Report(<-s.conns)
			require.NoError(t, err)
			require.Nil(t, server.Peer)
			require.Nil(t, server.Chain)
			require.Nil(t, server.Entry)
			require.False(t, (<-s.state).DidResume)
			require.NoError(t, conn.Close())
		}
	}
}

// TestStrangerIsNotResumed offers a stranger's session from a client that would
// resume it.
func TestStrangerIsNotResumed(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t)
		w.server.Policy.AllowTLS13 = true
		s := w.enrolment(t)
		c := w.stockClient(t, version)
		c.cfg.Certificates = nil
		require.False(t, c.resumed(t, s))
		require.False(t, c.resumed(t, s))
		require.EqualValues(t, 2, w.serverKey.signed.Load())
	}
}

// TestEnrolmentServerKnowsClients shows that a certificate that is presented is
// verified, and resumed, as on any other listener.
func TestEnrolmentServerKnowsClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var log lockedBuffer
	w.server.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := w.enrolment(t)
	require.False(t, w.resumed(t, s))
	require.True(t, w.resumed(t, s))
	require.NoError(t, <-s.result)
	require.NoError(t, <-s.result)

	w.keys.set("foreign", testpki.NewRoot("Other").Client("stranger"))
	conn, err := (&Dialer{Provider: w.client, Alias: "foreign"}).DialContext(t.Context(), "tcp", s.addr)
	if err == nil {
		err = pingErr(conn)
		conn.Close()
	}
	require.Error(t, err)
	err = <-s.result
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
	require.ErrorAs(t, err, new(x509.UnknownAuthorityError))
	require.Contains(t, log.String(), "client refused")
	require.Contains(t, log.String(), "source=127.0.0.1")
}

func TestStrangerRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	d := &Dialer{Provider: w.client, NoClientCertificate: true}
	conn, err := d.DialContext(t.Context(), "tcp", s.addr)
	if err == nil {
		err = pingErr(conn)
		conn.Close()
	}
	require.Error(t, err)
	require.Error(t, <-s.result, "by a listener that does not allow it")

	d.ServerName = "other.example"
	_, err = d.DialContext(t.Context(), "tcp", w.enrolment(t).addr)
	require.ErrorAs(t, err, new(x509.HostnameError), "the server is verified as always")

	d.Alias = terminal
	_, err = d.DialContext(t.Context(), "tcp", s.addr)
	require.ErrorIs(t, err, ErrIncomplete)
	for _, p := range []*Provider{nil, {}} {
		_, err = (&Dialer{Provider: p, NoClientCertificate: true}).DialContext(t.Context(), "tcp", s.addr)
		require.ErrorIs(t, err, ErrIncomplete)
	}
}
