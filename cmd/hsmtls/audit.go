// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// errAudit is for a server that breaks rules.
var errAudit = errors.New("the server breaks the TLS policy")

// errNoTLS is for something that accepts no TLS that could be judged.
var errNoTLS = errors.New("accepts neither TLS 1.2 nor TLS 1.3 with the suites of the policy")

// errUnsteady is for a server that refuses at the end what it took at first.
var errUnsteady = errors.New("stopped accepting connections during the audit, so its refusals mean nothing")

// A verdict is what is said of one rule. JSON has these fields.
type verdict struct {
	Rule   string `json:"rule"`
	Result string `json:"result"` // pass, fail, info
	Detail string `json:"detail"`
	Source string `json:"source"`
}

// An auditReport is what is said of a server. JSON has these fields.
type auditReport struct {
	Address  string    `json:"address"`
	Name     string    `json:"name"` // that was asked for
	Failed   int       `json:"failed"`
	Verdicts []verdict `json:"verdicts"`
}

const auditHelp = `address, name, failed (a number), verdicts (rule, result, detail, source); a result
is pass, fail, or info for what is not judged`

func (a *app) auditCommand() *cobra.Command {
	var name, alias string
	c := &cobra.Command{
		Use:   "audit HOST:PORT",
		Short: "say where a server falls short of the TLS policy",
		Long: `audit makes about thirty connections to a server, one after the other, and says for
each rule of the TLS policy whether the server keeps it: versions, suites, compression,
secure renegotiation, extended master secret, handshake signatures, curves, client
authentication, certificates and session tickets. It needs no token, sends no data
and takes at most five minutes. Servers log these connections as refused.

A server tells the lifetime of its tickets only to clients it accepts. With --alias,
which needs the token and the roots, audit dials once as dial does to see it.

Whether a server is trusted is not judged here: dial does that. Neither is whether it
renegotiates, or resumes sessions longer than it says.

The exit status is 0 only if no result is a fail.

JSON: ` + auditHelp + ".",
		Example:           "  hsmtls audit host.acquirer.example:8443\n  hsmtls audit 192.0.2.7:8443 --name host.acquirer.example",
		Args:              takes("HOST:PORT"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			host, _, err := net.SplitHostPort(args[0])
			if err != nil {
				return usagef("invalid argument %q for HOST:PORT: %w", args[0], err)
			}
			au := &auditor{prober: prober{addr: args[0], name: sni(name, host), step: a.progress()}, asked: name}
			if alias == "" {
				return a.audit(ctx, au)
			}
			return a.withProvider(ctx, func(p *hsmtls.Provider, _ *truststore.Store) error {
				p.Logger = nil
				au.identity = &hsmtls.Dialer{Provider: p, Alias: alias, ServerName: name}
				return a.audit(ctx, au)
			})
		}),
	}
	c.Flags().StringVar(&name, "name", "", "`NAME` that the server has to prove; that of HOST, which is not judged, if missing")
	c.Flags().StringVar(&alias, "alias", "", "`ALIAS` of the certificate to present once")
	return c
}

// sni is the name to ask for: that of an address is none (RFC 6066 section 3).
func sni(name, host string) string {
	if name == "" {
		name = host
	}
	if net.ParseIP(name) != nil {
		return ""
	}
	return name
}

func (a *app) audit(ctx context.Context, au *auditor) error {
	limited, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	err := au.run(limited)
	a.progressEnds()
	if err != nil {
		return err
	}
	r := auditReport{Address: au.addr, Name: au.asked, Verdicts: au.verdicts}
	for _, v := range r.Verdicts {
		if v.Result == "fail" {
			r.Failed++
		}
	}
	if err := a.show(r, r.print); err != nil {
		return err
	}
	if r.Failed > 0 {
		return fmt.Errorf("%w in %d of %d points", errAudit, r.Failed, len(r.Verdicts))
	}
	return nil
}

func (r auditReport) print(w io.Writer) {
	var rows [][]string
	for _, v := range r.Verdicts {
		rows = append(rows, []string{v.Rule, v.Result, cell(v.Detail), v.Source})
	}
	table(w, "RULE|RESULT|DETAIL|SOURCE", rows)
}

// progress returns what counts connections for somebody who watches.
func (a *app) progress() func() {
	n := 0
	return func() {
		if n++; a.watched() {
			fmt.Fprintf(a.stderr, "\rhsmtls: connection %d", n)
		}
	}
}

func (a *app) progressEnds() {
	if a.watched() {
		fmt.Fprint(a.stderr, "\r\x1b[K")
	}
}

// watched tells whether standard error is a terminal.
func (a *app) watched() bool {
	file, ok := a.stderr.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
