// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"fmt"
	"reflect"
	"slices"
)

// Finding is one thing that a configuration allows beyond the policy.
type Finding struct {
	// Rule is the rule that the configuration does not keep; its Source names
	// the standard.
	Rule Rule
	// Detail says in words what is allowed, or missing.
	Detail string
}

// String returns the finding as one line.
func (f Finding) String() string {
	return fmt.Sprintf("%v: %s (%s)", f.Rule, f.Detail, f.Rule.Source())
}

// Audit says what cfg, any configuration of any origin, allows beyond the zero
// [Policy], in the order of the rules. An empty result means nothing; nil is
// audited like the zero configuration. A configuration that could be for either
// role is audited for both. The environment counts as well: see
// [ErrWeakGODEBUG].
//
// Audit does not call the configuration's callbacks. It cannot see what only
// the wire guard enforces, such as the extended master secret.
func Audit(cfg *tls.Config) []Finding {
	if cfg == nil {
		cfg = new(tls.Config)
	}
	a := &audit{cfg: cfg}
	a.protocol()
	server := looksLikeServer(cfg)
	if client := !server || looksLikeClient(cfg); client {
		a.client()
	}
	if server || len(cfg.Certificates) > 0 {
		a.server()
	}
	a.secrets()
	slices.SortStableFunc(a.findings, func(x, y Finding) int { return int(x.Rule) - int(y.Rule) })
	return a.findings
}

type audit struct {
	cfg      *tls.Config
	findings []Finding
}

// add records a finding if the configuration shows it.
func (a *audit) add(shows bool, rule Rule, detail string) {
	if shows {
		a.findings = append(a.findings, Finding{rule, detail})
	}
}

func looksLikeServer(cfg *tls.Config) bool {
	return cfg.ClientAuth != tls.NoClientCert || cfg.ClientCAs != nil || cfg.GetCertificate != nil ||
		cfg.GetConfigForClient != nil || cfg.WrapSession != nil || cfg.UnwrapSession != nil
}

func looksLikeClient(cfg *tls.Config) bool {
	return cfg.ServerName != "" || cfg.InsecureSkipVerify || cfg.GetClientCertificate != nil || cfg.ClientSessionCache != nil
}

func (a *audit) protocol() {
	cfg := a.cfg
	a.add(cfg.MinVersion < tls.VersionTLS12, RuleVersion, "versions below TLS 1.2 are not excluded by MinVersion")
	a.add(cfg.MaxVersion == 0 || cfg.MaxVersion > tls.VersionTLS12, RuleVersion, "TLS 1.3 is allowed")
	a.add(cfg.CipherSuites == nil, RuleCipherSuite, "CipherSuites is nil: the defaults include CBC with HMAC-SHA1")
	for _, suite := range cfg.CipherSuites {
		a.add(!slices.Contains(cipherSuites, suite), RuleCipherSuite, tls.CipherSuiteName(suite)+" is allowed")
	}
	a.add(cfg.CurvePreferences == nil, RuleKeyExchange, "CurvePreferences is nil: the defaults decide")
	for _, curve := range cfg.CurvePreferences {
		a.add(!slices.Contains(curves, curve), RuleKeyExchange, curve.String()+" is allowed")
	}
	a.add(cfg.Renegotiation != tls.RenegotiateNever, RuleRenegotiation, "renegotiation is allowed")
	if err := checkGODEBUG(); err != nil {
		a.add(true, RuleGODEBUG, err.Error())
	}
}

func (a *audit) client() {
	cfg := a.cfg
	a.add(cfg.InsecureSkipVerify && cfg.VerifyConnection == nil, RulePeer, "as a client, resumed or all servers go unverified")
	a.add(!cfg.InsecureSkipVerify && cfg.RootCAs == nil, RulePeer, "as a client, the host's roots are trusted")
	a.add(cfg.GetClientCertificate == nil && len(cfg.Certificates) == 0, RulePeer, "as a client, there is no certificate to present")
	a.add(cfg.GetClientCertificate == nil && len(cfg.Certificates) > 0, RulePeer, "as a client, no certificate is presented if none fits the request")
	_, bounded := cfg.ClientSessionCache.(*clientSession)
	a.add(cfg.ClientSessionCache != nil && !cfg.SessionTicketsDisabled && !bounded, RuleSession, "as a client, sessions are resumed without a limit of age")
}

func (a *audit) server() {
	cfg := a.cfg
	verified := cfg.ClientAuth == tls.RequireAndVerifyClientCert || cfg.ClientAuth == tls.RequireAnyClientCert && cfg.VerifyConnection != nil
	a.add(!verified, RulePeer, "as a server, clients without a verified certificate are accepted")
	a.add(cfg.ClientAuth == tls.RequireAndVerifyClientCert && cfg.ClientCAs == nil, RulePeer, "as a server, the host's roots are trusted")
	a.add(!cfg.SessionTicketsDisabled && cfg.UnwrapSession == nil, RuleSession, "as a server, sessions are resumed for up to seven days")
	a.add(cfg.GetConfigForClient != nil && !a.ownCallback(), RulePeer, "as a server, GetConfigForClient may return any other configuration")
}

// ownCallback reports whether GetConfigForClient is that of a [Provider].
func (a *audit) ownCallback() bool {
	own := reflect.ValueOf(new(server).configForClient).Pointer()
	return reflect.ValueOf(a.cfg.GetConfigForClient).Pointer() == own
}

func (a *audit) secrets() {
	a.add(a.cfg.KeyLogWriter != nil, RuleSecrets, "session secrets are written to KeyLogWriter")
	a.add(a.cfg.Rand != nil, RuleSecrets, "Rand replaces the system's source of randomness")
}
