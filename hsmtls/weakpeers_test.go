// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto"
	"crypto/fips140"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// remoteAlert asserts that the peer ended the handshake, because we offered
// nothing it could take.
func remoteAlert(t *testing.T, err error) {
	t.Helper()
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	require.Equal(t, "remote error", op.Op)
}

func splitAddr(t *testing.T, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return host, port
}

const anyCipher = "ALL:@SECLEVEL=0"

// TestWeakOpenSSLServer dials servers that cannot do what the policy wants.
func TestWeakOpenSSLServer(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"TLS 1.0 only":           {"-tls1", "-cipher", anyCipher},
		"TLS 1.1 only":           {"-tls1_1", "-cipher", anyCipher},
		"TLS 1.3 only":           {"-tls1_3"},
		"static RSA only":        {"-tls1_2", "-cipher", "AES128-GCM-SHA256"},
		"static RSA with CBC":    {"-tls1_2", "-cipher", "AES128-SHA"},
		"ECDHE with CBC, SHA-1":  {"-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"},
		"ECDHE with CBC, SHA256": {"-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256"},
		"DHE only":               {"-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"},
		"P-521 only":             {"-tls1_2", "-groups", "P-521"},
		"SHA-1 only":             {"-tls1_2", "-cipher", anyCipher, "-sigalgs", "RSA+SHA1"},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.identities(t, func() crypto.Signer { return rsaKey(t, 2048) })
			_, err := w.exchange(t, w.opensslServer(t, nil, args...))
			remoteAlert(t, err)
			require.Zero(t, w.clientKey.signed.Load())
		})
	}
}

// TestWeakOpenSSLClient serves clients that cannot do what the policy wants.
func TestWeakOpenSSLClient(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		want func(*testing.T, error)
	}{
		{"TLS 1.0 only", []string{"-tls1", "-cipher", anyCipher}, rule(RuleVersion)},
		{"TLS 1.1 only", []string{"-tls1_1", "-cipher", anyCipher}, rule(RuleVersion)},
		{"TLS 1.3 only", []string{"-tls1_3"}, rule(RuleVersion)},
		{"static RSA only", []string{"-tls1_2", "-cipher", "AES128-GCM-SHA256"}, refusedByTLS},
		{"ECDHE with CBC, SHA-1", []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"}, refusedByTLS},
		{"P-521 only", []string{"-tls1_2", "-groups", "P-521"}, refusedByTLS},
		{"SHA-1 only", []string{"-tls1_2", "-cipher", anyCipher, "-sigalgs", "RSA+SHA1"}, refusedByTLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.identities(t, func() crypto.Signer { return rsaKey(t, 2048) })
			s := w.listen(t)
			out, err := exec.CommandContext(t.Context(), tool(t, "openssl"), w.opensslArgs(t, s, tt.args...)...).CombinedOutput()
			require.Error(t, err, "%s", out)
			tt.want(t, <-s.result)
			require.Zero(t, w.serverKey.signed.Load())
		})
	}
}

// refusedByTLS asserts that crypto/tls refused by itself: it has no typed error
// for finding nothing in common.
func refusedByTLS(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	require.False(t, errors.Is(err, io.EOF) || errors.As(err, new(*net.OpError)), "%v", err)
}

// TestSHA1Peers shows that the guard refuses SHA-1 where GODEBUG allows it.
func TestSHA1Peers(t *testing.T) { // not parallel: changes the environment
	t.Setenv("GODEBUG", "tlssha1=1")
	newKey := func() crypto.Signer { return rsaKey(t, 2048) }

	t.Run("server", func(t *testing.T) {
		w := newWorld(t)
		w.identities(t, newKey)
		_, err := w.exchange(t, w.opensslServer(t, nil, "-tls1_2", "-cipher", anyCipher, "-sigalgs", "RSA+SHA1", "-client_sigalgs", "RSA+SHA256"))
		refusedSHA1(t, err)
		require.Zero(t, w.clientKey.signed.Load())
	})
	t.Run("client", func(t *testing.T) {
		w := newWorld(t)
		w.identities(t, newKey)
		s := w.listen(t)
		cmd := exec.CommandContext(t.Context(), tool(t, "openssl"),
			w.opensslArgs(t, s, "-tls1_2", "-cipher", anyCipher, "-sigalgs", "RSA+SHA256", "-client_sigalgs", "RSA+SHA1")...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "%s", out)
		refusedSHA1(t, <-s.result)
	})
	t.Run("ourselves", func(t *testing.T) {
		w := newWorld(t)
		w.identities(t, newKey)
		_, err := w.exchange(t, w.opensslServer(t, nil, "-tls1_2", "-cipher", anyCipher, "-sigalgs", "RSA+SHA256", "-client_sigalgs", "RSA+SHA1"))
		require.Error(t, err, "a server that wants SHA-1 from us")
		require.Zero(t, w.clientKey.signed.Load())
	})
}

// refusedSHA1 asserts that the guard refused, or FIPS mode before it.
func refusedSHA1(t *testing.T, err error) {
	t.Helper()
	if fips140.Enabled() {
		require.Error(t, err)
		return
	}
	requireRule(t, err, RuleSignature)
}

func TestNoExtendedMasterSecretPeer(t *testing.T) {
	t.Parallel()
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		addr := w.opensslServer(t, noEMS(t), "-tls1_2")
		_, err := w.exchange(t, addr)
		requireRule(t, err, RuleExtendedMasterSecret)
		relaxed := &world{client: &Provider{Keys: w.keys, Trust: w.trust, Policy: Policy{AllowNoExtendedMasterSecret: true}}}
		_, err = relaxed.exchange(t, addr)
		require.Equal(t, fips140.Enabled(), err != nil, "FIPS mode is not relaxed: %v", err)
	})
	t.Run("GnuTLS server", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		_, err := w.exchange(t, w.gnutlsServer(t, "NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_SESSION_HASH"))
		requireRule(t, err, RuleExtendedMasterSecret)
	})
	for _, bare := range []bool{false, true} {
		for _, relaxed := range []bool{false, true} {
			t.Run("client", func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.server.Policy.AllowNoExtendedMasterSecret = relaxed
				s := w.serve(t, bare)
				cmd := exec.CommandContext(t.Context(), tool(t, "openssl"), w.opensslArgs(t, s, "-tls1_2")...)
				cmd.Env = append(os.Environ(), noEMS(t)...)
				out, err := cmd.CombinedOutput()
				if relaxed && !fips140.Enabled() {
					require.NoError(t, err, "%s", out)
					require.NoError(t, <-s.result)
					return
				}
				require.Error(t, err, "%s", out)
				if !relaxed {
					requireRule(t, <-s.result, RuleExtendedMasterSecret)
				}
			})
		}
	}
}

func TestNoRenegotiationInfoPeer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.exchange(t, w.gnutlsServer(t, "NORMAL:-VERS-ALL:+VERS-TLS1.2:%DISABLE_SAFE_RENEGOTIATION"))
	requireRule(t, err, RuleRenegotiation)
	require.Zero(t, w.clientKey.signed.Load())
}

// TestRenegotiation shows that a peer which starts one loses the connection.
func TestRenegotiation(t *testing.T) {
	t.Parallel()
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		s := w.listen(t)
		in, output := process(t, nil, "openssl", w.opensslArgs(t, s, "-tls1_2")...)
		require.NoError(t, <-s.result)
		io.WriteString(in, "R\n")
		said(t, output, regexp.MustCompile("RENEGOTIATING"))
		conn := <-s.conns
		require.Eventually(t, func() bool {
			_, err := conn.Write([]byte("still there?"))
			return err != nil
		}, patience, 10*time.Millisecond)
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		f := w.export(t, acquirer)
		in, output := process(t, nil, "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", f.chain, "-cert_chain", f.chain,
			"-key", f.key, "-CAfile", f.root, "-Verify", "3", "-tls1_2")
		conn, err := w.client.Dial(t.Context(), "tcp", said(t, output, acceptLine)[1], terminal)
		require.NoError(t, err)
		defer conn.Close()
		io.WriteString(in, "r\n") // HelloRequest
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = io.Copy(io.Discard, conn)
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}
