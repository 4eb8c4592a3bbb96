// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// witness is an Observer that hands on what it is told.
type witness struct {
	handshakes chan HandshakeEvent
	signatures chan SignatureEvent
}

func newWitness() *witness {
	return &witness{make(chan HandshakeEvent, 16), make(chan SignatureEvent, 16)}
}

func (w *witness) Handshake(e HandshakeEvent) { w.handshakes <- e }
func (w *witness) Signature(e SignatureEvent) { w.signatures <- e }

func TestObserver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, server := newWitness(), newWitness()
	w.client.Observer, w.server.Observer = client, server
	s := w.listen(t)
	for _, resumed := range []bool{false, true} {
		conn, err := w.dial(t, s)
		require.NoError(t, err)
		ping(t, conn)
		ours, theirs := <-client.handshakes, <-server.handshakes
		require.NoError(t, ours.Err)
		require.NoError(t, theirs.Err)
		require.Equal(t, resumed, ours.Report.Resumed)
		require.Equal(t, resumed, theirs.Report.Resumed)
		require.False(t, ours.Server)
		require.True(t, theirs.Server)
		require.Equal(t, []string{terminal, acquirer}, []string{ours.Alias, theirs.Alias})
		require.Equal(t, "127.0.0.1", ours.Name)
		require.Equal(t, s.addr, ours.Address)
		require.Equal(t, conn.LocalAddr().String(), theirs.Address)
		require.Equal(t, "terminal 1", theirs.Report.Peer.Subject.CommonName)
		require.Positive(t, ours.Duration)
		require.Positive(t, theirs.Duration)
	}
	for alias, one := range map[string]*witness{terminal: client, acquirer: server} {
		e := <-one.signatures
		require.Equal(t, alias, e.Alias)
		require.NoError(t, e.Err)
		require.Positive(t, e.Duration)
		require.Empty(t, one.signatures, "one signature for a full handshake, none for the resumed")
	}
}

func TestObserverOfRefusals(t *testing.T) {
	t.Parallel()
	t.Run("client not trusted", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		server := newWitness()
		w.server.Observer, w.server.Trust = server, trusting(testpki.NewRoot("other"))
		s := w.listen(t)
		_, err := w.dial(t, s)
		if err == nil {
			<-s.result // the client of TLS 1.2 hears it before, that of 1.3 after
		}
		e := <-server.handshakes
		var refused *tls.CertificateVerificationError
		require.ErrorAs(t, e.Err, &refused)
		require.Zero(t, e.Report)
	})
	t.Run("server not trusted", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		client := newWitness()
		w.client.Observer, w.client.Trust = client, trusting(testpki.NewRoot("other"))
		_, err := w.dial(t, w.listen(t))
		require.Error(t, err)
		require.ErrorIs(t, err, (<-client.handshakes).Err)
	})
	t.Run("old client", func(t *testing.T) {
		t.Parallel()
		if fips140.Enabled() {
			t.Skip("NOT TESTED in FIPS mode, in which crypto/tls sends no such hello")
		}
		w := newWorld(t)
		server := newWitness()
		w.server.Observer = server
		s := w.listen(t)
		_, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		require.Error(t, err)
		e := <-server.handshakes
		require.ErrorIs(t, <-s.result, e.Err)
		require.Equal(t, acquirer, e.Alias)
	})
	t.Run("hello that crypto/tls does not read", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		server := newWitness()
		w.server.Observer = server
		s := w.listen(t)
		conn, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		defer conn.Close()
		twice := concat(u16(extExtendedMasterSecret), vec16(nil))
		_, err = conn.Write(record(recordTypeHandshake, hello{noExtensions: true, tail: vec16(concat(twice, twice))}.client()))
		require.NoError(t, err)
		err = <-s.result
		require.Error(t, err)
		require.ErrorIs(t, (<-server.handshakes).Err, err)
	})
	t.Run("silent client", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		server := newWitness()
		w.server.Observer, w.server.HandshakeTimeout = server, 10*time.Millisecond
		s := w.listen(t)
		conn, err := net.Dial("tcp", s.addr)
		require.NoError(t, err)
		defer conn.Close()
		require.ErrorIs(t, (<-server.handshakes).Err, ErrHandshakeTimeout)
	})
	t.Run("key that fails", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		server := newWitness()
		w.server.Observer, w.server.SignTimeout = server, time.Millisecond
		defer w.hang(t, w.serverKey)()
		_, err := w.dial(t, w.listen(t))
		require.Error(t, err)
		require.ErrorIs(t, (<-server.handshakes).Err, ErrSignTimeout)
		require.True(t, errors.Is((<-server.signatures).Err, ErrSignTimeout))
	})
}
