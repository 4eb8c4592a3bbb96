// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestDial(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)

	conn, err := w.dial(t, s)
	require.NoError(t, err)
	ping(t, conn)

	cs := conn.ConnectionState()
	require.Equal(t, uint16(tls.VersionTLS12), cs.Version)
	require.Contains(t, cipherSuites, cs.CipherSuite)
	require.Equal(t, "terminal 1", (<-s.state).PeerCertificates[0].Subject.CommonName)
	require.EqualValues(t, 1, w.clientKey.signed.Load(), "one signature per full handshake")
	require.EqualValues(t, 1, w.serverKey.signed.Load())
}

func TestDialerServerName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	d := &Dialer{Provider: w.client, Alias: terminal, ServerName: host}

	conn, err := d.DialContext(t.Context(), "tcp", s.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, host, (<-s.state).ServerName, "the verified name is sent as SNI")

	d.ServerName = "other.example"
	_, err = d.DialContext(t.Context(), "tcp", s.addr)
	require.ErrorAs(t, err, new(x509.HostnameError))
}

func TestDialerNoServerName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, addr := range []string{":8443", "acquirer.example", "%eth0:8443"} {
		_, err := w.client.Dial(t.Context(), "tcp", addr, terminal)
		require.ErrorIs(t, err, ErrNoServerName, addr)
	}
}

func TestDialerZone(t *testing.T) {
	t.Parallel()
	name, err := new(Dialer).serverName("[fe80::1%eth0]:8443")
	require.NoError(t, err)
	require.Equal(t, "fe80::1", name)
}

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(w *world)
		want func(t *testing.T, err error)
	}{
		{"another root", func(w *world) {
			w.client.Trust = trusting(testpki.NewRoot("Other"))
		}, as[x509.UnknownAuthorityError]},
		{"wrong name", func(w *world) {
			w.keys.set(acquirer, w.root.Server("other.example"))
		}, as[x509.HostnameError]},
		{"expired", func(w *world) {
			w.client.Now = func() time.Time { return time.Now().AddDate(50, 0, 0) }
		}, as[x509.CertificateInvalidError]},
		{"client certificate", func(w *world) {
			w.keys.set(acquirer, w.root.Client("127.0.0.1"))
		}, rule(RuleCertificateUsage)},
		{"no extended key usage", func(w *world) {
			w.keys.set(acquirer, issued(w.root, func(c *x509.Certificate) { c.ExtKeyUsage = nil }))
		}, rule(RuleCertificateUsage)},
		{"trust without a chain", func(w *world) {
			w.client.Trust = emptyTrust{}
		}, isErr(errNoChain)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.edit(w)
			_, err := w.dial(t, w.listen(t))
			require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
			tt.want(t, err)
			require.Zero(t, w.clientKey.signed.Load(), "nothing is signed for an untrusted server")
		})
	}
}

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(w *world)
		want func(t *testing.T, err error)
	}{
		{"another root", func(w *world) {
			w.server.Trust = trusting(testpki.NewRoot("Other"))
		}, as[x509.UnknownAuthorityError]},
		{"expired", func(w *world) {
			w.server.Now = func() time.Time { return time.Now().AddDate(50, 0, 0) }
		}, as[x509.CertificateInvalidError]},
		{"server certificate", func(w *world) {
			w.keys.set(terminal, w.root.Server("terminal.example"))
		}, rule(RuleCertificateUsage)},
		{"trust without a chain", func(w *world) {
			w.server.Trust = emptyTrust{}
		}, isErr(errNoChain)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.edit(w)
			s := w.listen(t)
			conn, err := w.dial(t, s)
			if err == nil {
				err = pingErr(conn)
			}
			require.Error(t, err)
			err = <-s.result
			require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
			tt.want(t, err)
		})
	}
}

func TestListenDemandsCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	conn, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		conn.Close()
	}
	require.Error(t, <-s.result)
}

func TestNotMutual(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cert, err := w.keys.Certificate(t.Context(), acquirer)
	require.NoError(t, err)
	s := stockServer(t, &tls.Config{Certificates: []tls.Certificate{*cert}, MaxVersion: tls.VersionTLS12})

	for range 3 {
		_, err = w.dial(t, s)
		require.ErrorIs(t, err, ErrNotMutual)
		require.False(t, (<-s.state).DidResume, "its session must not be kept")
	}
	require.Zero(t, w.clientKey.signed.Load())
}

func TestVerifyPeer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	errNo := errors.New("not this one")
	var resumed []bool
	allow := true
	hook := func(cs tls.ConnectionState) error {
		resumed = append(resumed, cs.DidResume)
		require.Len(t, cs.VerifiedChains, 1)
		if allow {
			return nil
		}
		return errNo
	}
	w.client.VerifyPeer = hook
	s := w.listen(t)
	for range 2 {
		conn, err := w.dial(t, s)
		require.NoError(t, err)
		ping(t, conn)
	}
	require.Equal(t, []bool{false, true}, resumed)
	allow = false
	_, err := w.dial(t, s)
	require.ErrorIs(t, err, errNo, "on a resumed session too")
	require.True(t, resumed[2])

	w.client.Trust = trusting(testpki.NewRoot("Other"))
	calls := len(resumed)
	_, err = w.dial(t, s)
	require.Error(t, err)
	require.Len(t, resumed, calls, "not asked about a peer that Trust refused")
}

func TestVerifyPeerServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	errNo := errors.New("not this one")
	w.server.VerifyPeer = func(cs tls.ConnectionState) error { return errNo }
	s := w.listen(t)
	w.dial(t, s)
	require.ErrorIs(t, <-s.result, errNo)
}

func TestMaxConnBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn, err := w.dial(t, w.listen(t))
	require.NoError(t, err)
	ping(t, conn)
	wire := conn.NetConn().(*wireConn)
	wire.maxBytes = 1
	_, err = conn.Write([]byte("ping"))
	require.ErrorIs(t, err, ErrConnExpired)
	require.Eventually(t, func() bool {
		wire.mu.Lock()
		defer wire.mu.Unlock()
		return wire.closed
	}, patience, time.Millisecond)
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrConnExpired)
}

// TestTLS13 shows that TLS 1.3 is off, and complete when switched on.
func TestTLS13(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		client, server bool
		want           uint16
	}{
		{"off", false, false, tls.VersionTLS12},
		{"client only", true, false, tls.VersionTLS12},
		{"server only", false, true, tls.VersionTLS12},
		{"both", true, true, tls.VersionTLS13},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.client.Policy.AllowTLS13, w.server.Policy.AllowTLS13 = tt.client, tt.server
			s := w.listen(t)
			for i := range 3 {
				conn, err := w.dial(t, s)
				require.NoError(t, err)
				ping(t, conn)
				require.Equal(t, tt.want, conn.ConnectionState().Version)
				require.Equal(t, i > 0, conn.ConnectionState().DidResume)
			}
		})
	}
}

func TestTLS13NotMutual(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.Policy.AllowTLS13 = true
	cert, err := w.keys.Certificate(t.Context(), acquirer)
	require.NoError(t, err)
	s := stockServer(t, &tls.Config{Certificates: []tls.Certificate{*cert}})
	_, err = w.dial(t, s)
	require.ErrorIs(t, err, ErrNotMutual)
}

// stockServer serves a configuration that is not ours.
func stockServer(t *testing.T, cfg *tls.Config) *echoServer {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	require.NoError(t, err)
	return echo(t, ln)
}

// issued returns a server certificate with its template edited.
func issued(ca *testpki.CA, edit func(*x509.Certificate)) tls.Certificate {
	cert := ca.Server("127.0.0.1")
	template := testpki.ServerTemplate("127.0.0.1")
	edit(template)
	leaf := ca.Issue(template, cert.Leaf.PublicKey)
	cert.Certificate[0], cert.Leaf = leaf.Raw, leaf
	return cert
}

func as[T error](t *testing.T, err error) {
	t.Helper()
	require.ErrorAs(t, err, new(T))
}

func rule(r Rule) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		requireRule(t, err, r)
	}
}

func isErr(want error) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		require.ErrorIs(t, err, want)
	}
}
