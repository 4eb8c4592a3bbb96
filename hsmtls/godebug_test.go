// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestWeakSetting(t *testing.T) {
	t.Parallel()
	tests := []struct{ env, def, want string }{
		{"", "", ""},
		{"fips140=on", "", ""},
		{"tlssha1=1", "", "tlssha1=1"},
		{"tlssha1=0", "", ""},
		{"tlssha1=1,tlssha1=0", "", ""},
		{"tlssha1=0,tlssha1=1", "", "tlssha1=1"},
		{"http2debug=1,tlssha1=1,madvdontneed=1", "", "tlssha1=1"},
		{"", "tlssha1=1", "tlssha1=1"},
		{"tlssha1=0", "tlssha1=1", ""},
		{"tlssha1=1#1234", "", "tlssha1=1"},
		{"tlsunsafeekm=1", "", "tlsunsafeekm=1"},
		{"fips140ems=0", "", "fips140ems=0"},
		{"rsa1024min=0", "", "rsa1024min=0"},
		{"x509negativeserial=1", "", "x509negativeserial=1"},
		{"tlsmaxrsasize=16384", "", "tlsmaxrsasize=16384"},
		{"tlsmaxrsasize=4096", "", ""},
		{"tlsmaxrsasize=x", "", ""},
		{"tls10server=1,tlsrsakex=1,tls3des=1", "", ""}, // our fields are explicit
		{",,=,tlssha1", "", ""},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, weakSetting(tt.env, tt.def), "env %q, default %q", tt.env, tt.def)
	}
}

// TestWeakGODEBUG weakens crypto/tls while the program runs.
func TestWeakGODEBUG(t *testing.T) { // not parallel: changes the environment
	w := newWorld(t)
	serverCfg, err := w.server.ServerConfig(t.Context(), acquirer)
	require.NoError(t, err)
	clientCfg, err := w.client.ClientConfig(t.Context(), terminal)
	require.NoError(t, err)
	clientCfg.ServerName = host
	bare, guarded := stockServer(t, serverCfg), w.listen(t)

	t.Setenv("GODEBUG", "tlssha1=1")
	_, err = w.server.ServerConfig(t.Context(), acquirer)
	require.ErrorIs(t, err, ErrWeakGODEBUG, "at construction")
	_, err = w.client.ClientConfig(t.Context(), terminal)
	require.ErrorIs(t, err, ErrWeakGODEBUG)
	require.Equal(t, RuleGODEBUG, Audit(clientCfg)[0].Rule)

	_, err = tls.Dial("tcp", guarded.addr, clientCfg)
	require.ErrorIs(t, err, ErrWeakGODEBUG, "in each handshake")
	_, err = w.dial(t, bare)
	require.Error(t, err)
	require.ErrorIs(t, <-bare.result, ErrWeakGODEBUG)

	conn, err := w.dial(t, guarded)
	require.NoError(t, err, "the wire guard does not depend on it")
	ping(t, conn)
}

// TestLongKeyUnderGODEBUG lets crypto/tls take keys of any length from a peer; we do not.
func TestLongKeyUnderGODEBUG(t *testing.T) { // not parallel: changes the environment
	w := newWorld(t)
	cert, err := w.keys.Certificate(t.Context(), acquirer)
	require.NoError(t, err)
	long := *cert
	long.Certificate = append(slices.Clone(cert.Certificate), w.root.Issue(testpki.ServerTemplate(host), longRSA()).Raw)
	s := stockServer(t, &tls.Config{Certificates: []tls.Certificate{long}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12})
	t.Setenv("GODEBUG", "tlsmaxrsasize=16384")
	_, err = w.dial(t, s)
	requireRule(t, err, RuleCertificateKey)
}

// TestWeakBuildDefault builds a program whose weakness is compiled in.
func TestWeakBuildDefault(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "weak")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/weakgodebug").CombinedOutput()
	require.NoError(t, err, "%s", out)

	run := exec.CommandContext(t.Context(), program)
	run.Env = append(os.Environ(), "GODEBUG=")
	out, err = run.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "weak\n", string(out))

	run = exec.CommandContext(t.Context(), program)
	run.Env = append(os.Environ(), "GODEBUG=tlssha1=0")
	out, err = run.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "strong\n", string(out))
}
