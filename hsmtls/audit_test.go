// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAuditOwn shows that the configurations of the package keep the policy.
func TestAuditOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, err := w.client.ClientConfig(t.Context(), terminal)
	require.NoError(t, err)
	server, err := w.server.ServerConfig(t.Context(), acquirer)
	require.NoError(t, err)
	id, err := w.client.identity(t.Context(), terminal)
	require.NoError(t, err)
	own := map[string]*tls.Config{
		"client":     client,
		"server":     server,
		"connection": w.client.newClientConn(id, host, "").config(nil),
	}
	for name, cfg := range own {
		require.Empty(t, Audit(cfg), name)
		require.Empty(t, Audit(cfg.Clone()), name)
	}
	w.client.Policy.AllowTLS13 = true
	cfg, err := w.client.ClientConfig(t.Context(), terminal)
	require.NoError(t, err)
	require.Equal(t, []Finding{{RuleVersion, "TLS 1.3 is allowed"}}, Audit(cfg))
}

func TestAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, err := w.client.ClientConfig(t.Context(), terminal)
	require.NoError(t, err)
	server, err := w.server.ServerConfig(t.Context(), acquirer)
	require.NoError(t, err)
	tests := []struct {
		name string
		base *tls.Config
		edit func(*tls.Config)
		want []Rule
	}{
		{"TLS 1.0", client, func(c *tls.Config) { c.MinVersion = tls.VersionTLS10 }, []Rule{RuleVersion}},
		{"MinVersion unset", client, func(c *tls.Config) { c.MinVersion = 0 }, []Rule{RuleVersion}},
		{"MaxVersion unset", client, func(c *tls.Config) { c.MaxVersion = 0 }, []Rule{RuleVersion}},
		{"default suites", client, func(c *tls.Config) { c.CipherSuites = nil }, []Rule{RuleCipherSuite}},
		{"CBC suite", client, func(c *tls.Config) {
			c.CipherSuites = append(c.CipherSuites, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA)
		}, []Rule{RuleCipherSuite}},
		{"default curves", client, func(c *tls.Config) { c.CurvePreferences = nil }, []Rule{RuleKeyExchange}},
		{"P-521", client, func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP521} }, []Rule{RuleKeyExchange}},
		{"renegotiation", client, func(c *tls.Config) { c.Renegotiation = tls.RenegotiateOnceAsClient }, []Rule{RuleRenegotiation}},
		{"unverified servers", client, func(c *tls.Config) { c.VerifyConnection = nil }, []Rule{RulePeer}},
		{"host roots", client, func(c *tls.Config) { c.InsecureSkipVerify, c.RootCAs = false, nil }, []Rule{RulePeer}},
		{"no client certificate", client, func(c *tls.Config) { c.GetClientCertificate = nil }, []Rule{RulePeer}},
		{"optional client certificate", client, func(c *tls.Config) {
			c.GetClientCertificate, c.Certificates, c.ServerName = nil, make([]tls.Certificate, 1), host
		}, []Rule{RulePeer, RulePeer}},
		{"client sessions", client, func(c *tls.Config) {
			c.SessionTicketsDisabled, c.ClientSessionCache = false, tls.NewLRUClientSessionCache(0)
		}, []Rule{RuleSession}},
		{"anonymous clients", server, func(c *tls.Config) { c.ClientAuth = tls.VerifyClientCertIfGiven }, []Rule{RulePeer}},
		{"unverified clients", server, func(c *tls.Config) { c.VerifyConnection = nil }, []Rule{RulePeer}},
		{"host roots for clients", server, func(c *tls.Config) {
			c.ClientAuth, c.VerifyConnection = tls.RequireAndVerifyClientCert, nil
		}, []Rule{RulePeer}},
		{"own roots for clients", server, func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		}, nil},
		{"server sessions", server, func(c *tls.Config) { c.SessionTicketsDisabled = false }, []Rule{RuleSession}},
		{"foreign GetConfigForClient", server, func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		}, []Rule{RulePeer}},
		{"key log", client, func(c *tls.Config) { c.KeyLogWriter = io.Discard }, []Rule{RuleSecrets}},
		{"random source", client, func(c *tls.Config) { c.Rand = zeroReader{} }, []Rule{RuleSecrets}},
		{"crypto/tls defaults", &tls.Config{}, func(*tls.Config) {}, []Rule{
			RuleVersion, RuleVersion, RuleCipherSuite, RuleKeyExchange, RulePeer, RulePeer,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := tt.base.Clone()
			tt.edit(cfg)
			var got []Rule
			for _, f := range Audit(cfg) {
				require.NotEmpty(t, f.Detail)
				require.Contains(t, f.String(), f.Rule.Source())
				got = append(got, f.Rule)
			}
			require.Equal(t, tt.want, got)
		})
	}
	require.Equal(t, Audit(&tls.Config{}), Audit(nil))
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestRules shows that every rule has its words and its source.
func TestRules(t *testing.T) {
	t.Parallel()
	for r := RuleRecord; r <= RuleGODEBUG; r++ {
		require.NotEmpty(t, rules[r].text)
		require.NotEmpty(t, r.Source())
		require.NotZero(t, rules[r].alert)
	}
	require.Len(t, rules, int(RuleGODEBUG))
	require.Equal(t, "rule 0", Rule(0).String())
	require.Empty(t, Rule(0).Source())
}
