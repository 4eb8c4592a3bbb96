// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// maxTicketLifetime is what a ticket may be good for (RFC 5246 appendix F.1.4).
const maxTicketLifetime = 24 * time.Hour

// An auditor judges one server.
type auditor struct {
	prober
	asked    string         // the name the server has to prove, empty for none
	identity *hsmtls.Dialer // nil for none

	answers  []flight // to good offers, one for each kind of key the server has
	verdicts []verdict
}

func (a *auditor) say(rule hsmtls.Rule, result, format string, args ...any) {
	a.verdicts = append(a.verdicts, verdict{rule.String(), result, clean(fmt.Sprintf(format, args...)), rule.Source()})
}

// judge says that a rule is kept or broken.
func (a *auditor) judge(kept bool, rule hsmtls.Rule, yes, no string) {
	if kept {
		a.say(rule, "pass", "%s", yes)
		return
	}
	a.say(rule, "fail", "%s", no)
}

// run makes the verdicts. That a server refuses proves something only of one
// that accepts a good offer, before and after.
func (a *auditor) run(ctx context.Context) error {
	tls13, err := a.versions(ctx)
	if err != nil {
		return err
	}
	if len(a.answers) == 0 && !tls13 {
		return fmt.Errorf("%s %w", a.addr, errNoTLS)
	}
	for _, r := range refusals() {
		if err := a.refuses(ctx, r); err != nil {
			return err
		}
	}
	if len(a.answers) == 0 {
		return nil
	}
	if err := a.hello(ctx); err != nil {
		return err
	}
	a.certificates()
	if err := a.clients(ctx); err != nil {
		return err
	}
	last, err := a.ask(ctx, good())
	if err == nil && !last.hello {
		return fmt.Errorf("%s %w", a.addr, errUnsteady)
	}
	slices.SortStableFunc(a.verdicts, func(x, y verdict) int { return ruleOrder(x.Rule) - ruleOrder(y.Rule) })
	return err
}

// ruleOrder is the place of a rule in the table.
func ruleOrder(name string) int {
	r := hsmtls.RuleRecord
	for ; r <= hsmtls.RuleGODEBUG && r.String() != name; r++ {
	}
	return int(r)
}

// versions finds out what the server accepts of what it should or may.
func (a *auditor) versions(ctx context.Context) (tls13 bool, err error) {
	for _, kind := range []string{"ECDSA", "RSA"} {
		o := good()
		o.suites = goodSuites[kind]
		f, err := a.ask(ctx, o)
		if err != nil {
			return false, err
		}
		if f.hello && f.version == tls.VersionTLS12 {
			a.answers = append(a.answers, f)
			a.say(hsmtls.RuleCipherSuite, "pass", "accepts %s", tls.CipherSuiteName(f.suite))
		}
	}
	a.judge(len(a.answers) > 0, hsmtls.RuleVersion, "accepts TLS 1.2", "TLS 1.2 is refused")
	o := good()
	o.version = tls.VersionTLS13
	o.suites = append([]uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}, o.suites...)
	f, err := a.ask(ctx, o)
	if tls13 = f.hello && f.version == tls.VersionTLS13; tls13 {
		a.say(hsmtls.RuleVersion, "info", "accepts TLS 1.3")
	} else {
		a.say(hsmtls.RuleVersion, "info", "does not accept TLS 1.3, which RFC 9325 recommends")
	}
	return tls13, err
}

// refuses makes an offer that the server must not accept.
func (a *auditor) refuses(ctx context.Context, r refusal) error {
	f, err := a.ask(ctx, r.offer)
	if err != nil {
		return err
	}
	switch {
	case r.rule == hsmtls.RuleSignature && f.hello && (!f.complete || slices.Contains(goodSchemes, f.scheme)):
		a.say(r.rule, "pass", "offered %s, signs with none of it", r.what)
	case r.rule == hsmtls.RuleSignature && f.hello:
		a.say(r.rule, "fail", "offered %s, signs with %v", r.what, tls.SignatureScheme(f.scheme))
	case r.rule == hsmtls.RuleCipherSuite && f.hello:
		a.say(r.rule, "fail", "accepts %s: %s", r.what, tls.CipherSuiteName(f.suite))
	case f.hello:
		a.say(r.rule, "fail", "accepts %s", r.what)
	default:
		a.say(r.rule, "pass", "refuses %s", r.what)
	}
	return nil
}

// hello judges the ServerHello and what follows it.
func (a *auditor) hello(ctx context.Context) error {
	f := a.answers[0]
	a.judge(f.renegotiationInfo, hsmtls.RuleRenegotiation, "acknowledges renegotiation_info", "does not acknowledge renegotiation_info")
	a.judge(f.extendedMasterSecret, hsmtls.RuleExtendedMasterSecret, "supports it", "does not support it")
	for _, f := range a.answers {
		a.judge(f.signed && slices.Contains(goodSchemes, f.scheme), hsmtls.RuleSignature,
			fmt.Sprintf("offered the schemes of the policy, signs with %v", tls.SignatureScheme(f.scheme)),
			fmt.Sprintf("offered the schemes of the policy, signs with %v", tls.SignatureScheme(f.scheme)))
	}
	o := good()
	o.deflate = true
	f, err := a.ask(ctx, o)
	if err != nil {
		return err
	}
	a.judge(f.compression == 0, hsmtls.RuleCompression, "is off", "is on")
	o = good()
	o.bare = true
	f, err = a.ask(ctx, o)
	if f.hello {
		a.say(hsmtls.RuleExtendedMasterSecret, "info", "is not demanded of clients")
	} else {
		a.say(hsmtls.RuleExtendedMasterSecret, "info", "is demanded of clients")
	}
	return err
}

// clients judges whom the server accepts, and what it gives to them.
func (a *auditor) clients(ctx context.Context) error {
	a.judge(a.answers[0].requested, hsmtls.RulePeer, "requests a client certificate", "does not request a client certificate")
	leaf, err := x509.ParseCertificate(firstOf(a.answers[0].chain))
	if err != nil {
		return nil // said already
	}
	unknown, err := stranger()
	if err != nil {
		return err
	}
	accepted, done := a.accepts(ctx, leaf, "a client without certificate")
	if a.answers[0].requested && !done {
		accepted, done = a.accepts(ctx, leaf, "a client whose certificate nobody knows", unknown)
	}
	if a.identity != nil {
		if accepted, err = a.dialAs(ctx); err != nil {
			a.say(hsmtls.RuleSession, "info", "lifetime of tickets unknown: %s", sentence(err))
			return ctx.Err()
		}
		done = true
	}
	a.tickets(accepted, done)
	return ctx.Err()
}

func (a *auditor) accepts(ctx context.Context, leaf *x509.Certificate, who string, own ...tls.Certificate) (flight, bool) {
	f, err := a.handshake(ctx, leaf, own...)
	switch {
	case err == nil:
		a.say(hsmtls.RulePeer, "fail", "accepts %s", who)
	case wasRefused(err) && a.answers[0].requested:
		a.say(hsmtls.RulePeer, "pass", "refuses %s", who)
	default:
		a.say(hsmtls.RulePeer, "info", "no handshake with %s: %s", who, sentence(err))
	}
	return f, err == nil
}

// dialAs completes a handshake as an identity on the token.
func (a *auditor) dialAs(ctx context.Context) (flight, error) {
	var record *recorder
	dialer := *a.identity
	dialer.NetDial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := a.connect(ctx)
		record = &recorder{Conn: conn}
		return record, err
	}
	conn, err := dialer.DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return flight{}, err
	}
	defer conn.Close()
	return record.flight(), nil
}

// tickets judges the session ticket of a client that was accepted.
func (a *auditor) tickets(f flight, accepted bool) {
	lifetime := time.Duration(f.lifetime) * time.Second
	switch {
	case !accepted:
		a.say(hsmtls.RuleSession, "info", "lifetime of tickets unknown: no client was accepted, see --alias")
	case !f.ticket:
		a.say(hsmtls.RuleSession, "pass", "issues no tickets")
	case f.lifetime == 0:
		a.say(hsmtls.RuleSession, "info", "issues tickets and does not say for how long")
	case lifetime > maxTicketLifetime:
		a.say(hsmtls.RuleSession, "fail", "tickets are good for %v, more than %v", lifetime, maxTicketLifetime)
	default:
		a.say(hsmtls.RuleSession, "pass", "tickets are good for %v", lifetime)
	}
}

func firstOf(chain [][]byte) []byte {
	if len(chain) == 0 {
		return nil
	}
	return chain[0]
}
