// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// A terminalRun is the flags of terminal.
type terminalRun struct {
	operations               operations
	listen, alias, authority string
	screen, journal          string
}

func (a *app) terminalCommand() *cobra.Command {
	r := &terminalRun{operations: operations{app: a}}
	c := &cobra.Command{
		Use:   "terminal",
		Short: "be a terminal: pair POS and answer those that are paired",
		Long: `terminal listens for POS, says "listening on ADDR" on standard output, and
"screen on URL" for the operator's page, which this machine alone can open.

A line on standard input is the operator's tap on Generate Code. Each code that is shown
is printed as "code: XXXXXXXX expires: DATE", each POS that is paired as "paired: POSID".
If standard input is a terminal, it understands a few words more, and says which.

A POS that is paired gets an answer to each HTTP request that says who has asked. Who has
tried what is logged to standard error. It ends with SIGINT or SIGTERM and exit status 0.

What other programs change on the token is noticed every --refresh, and at once with
SIGHUP, unless standard input is a terminal: POS that hsmtls pairing revoke has revoked,
whose connections are closed, and a certificate that hsmtls cert inject --replace has
renewed. Another pairing CA takes a restart. Nothing that has expired is removed; that is
for hsmtls pairing prune.

` + journalHelp + `

` + operationsHelp + `

JSON: one object a line: event (listening, screen, admin, code, working, paired, request,
and wrong, blocked, failed, closed, renewed, revoked, refreshed), and address, code,
expires, pos_id, error, method and path where there are some.`,
		Example:           "  hsmtls terminal --listen :8443 --alias terminal_pub --pairing-ca pairing_ca",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			if err := r.check(); err != nil {
				return err
			}
			return a.withPaired(ctx, func(tok *hsm.Token, trust *truststore.Store) error {
				info, err := tok.Info(ctx)
				if err != nil {
					return err
				}
				if r.journal, err = journalPath(r.journal, info); err != nil {
					return err
				}
				return a.terminal(ctx, r, tok, trust)
			})
		}),
	}
	f := c.Flags()
	f.StringVar(&r.listen, "listen", "", "`ADDR` to listen on, such as :8443")
	f.StringVar(&r.alias, "alias", "", "`ALIAS` of the certificate to present")
	f.StringVar(&r.authority, "pairing-ca", "", "`ALIAS` of the pairing CA, see hsmtls pairing init")
	f.StringVar(&r.screen, "screen", "127.0.0.1:0", "loopback `ADDR` of the operator's page, or none")
	f.StringVar(&r.journal, "journal", "", "`FILE` to remember deliveries in across a restart, or none")
	r.operations.flags(c)
	mustHave(c, "listen", "alias", "pairing-ca")
	_ = c.MarkFlagFilename("journal")
	return c
}

func (r *terminalRun) check() error {
	if _, _, err := net.SplitHostPort(r.listen); err != nil {
		return usagef("invalid argument %q for --listen: %w", r.listen, err)
	}
	if r.screen != noScreen {
		if _, err := parseLoopback("screen", r.screen); err != nil {
			return err
		}
	}
	return r.operations.check()
}

// terminal sets everything up before it listens, so that what is missing is said
// at once.
func (a *app) terminal(ctx context.Context, r *terminalRun, tok *hsm.Token, trust *truststore.Store) error {
	keys := keystore.New(tok)
	named, err := a.namedRoots()
	if err != nil && !errors.Is(err, errNoRoots) {
		return err
	}
	ca, err := issuer(ctx, keys, r.authority, named)
	if err != nil {
		return err
	}
	own, err := keys.Identity(ctx, r.alias)
	if err != nil {
		return err
	}
	o := &operator{
		app: a, keys: keys, dialogue: isTerminal(a.stdin),
		presented: own.Chain[0], warned: make(map[string]bool),
	}
	o.terminal = &pairing.Terminal{
		Issuer:   ca,
		Registry: &truststore.Clients{Store: trust},
		Handler:  http.HandlerFunc(o.answer),
		Provider: &hsmtls.Provider{Keys: keys, Trust: trust, Logger: o.log()},
		Alias:    r.alias,
		Journal:  r.journal,
		Logger:   r.operations.audit.alsoPairing(o.log()),
	}
	if chain, ok := complete(own.Chain, named); ok {
		o.terminal.Root = chain[len(chain)-1]
	} else {
		a.warn("root of certificate %s is not known: a POS cannot check it by fingerprint", cell(r.alias))
	}
	r.operations.observe(o.terminal.Provider)
	defer o.terminal.Close()
	o.warnOfExpiry()
	run := running{
		command: "terminal", alias: r.alias, token: tok, keys: keys, trust: trust, provider: o.terminal.Provider, terminal: o.terminal,
		say: func(address string) { o.say(terminalEvent{Event: "admin", Address: address}) },
	}
	stop, err := r.operations.start(ctx, run)
	if err != nil {
		return err
	}
	defer stop()
	o.follower = r.operations.follower(run)
	o.follower.served, o.follower.deaf = o, o.dialogue // or the window of a person that closes would not end it
	o.follower.read = func() { o.say(terminalEvent{Event: "refreshed"}) }
	o.follower.failed = func(err error) { a.warn("%s: %v", unread, err) }
	return o.serve(ctx, r)
}

// log is the audit log. It does not talk into a dialogue.
func (o *operator) log() *slog.Logger {
	switch {
	case o.dialogue && isTerminal(o.app.stderr):
		return slog.New(slog.DiscardHandler)
	case o.app.globals.json:
		return slog.New(slog.NewJSONHandler(o.app.stderr, nil))
	}
	return slog.New(slog.NewTextHandler(o.app.stderr, nil))
}

// serve returns when ctx ends, the operator quits, or the port is lost.
func (o *operator) serve(ctx context.Context, r *terminalRun) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", r.listen)
	if err != nil {
		return err
	}
	page, err := o.openScreen(ctx, r.screen)
	if err != nil {
		ln.Close()
		return err
	}
	var working sync.WaitGroup
	defer working.Wait()
	defer o.follower.start(ctx)()
	defer cancel()
	working.Go(func() { page(ctx) })
	working.Go(func() { o.follow(ctx) })
	working.Go(func() { o.listen(ctx, cancel) })
	o.say(terminalEvent{Event: "listening", Address: ln.Addr().String()})
	r.operations.enter(ready)
	return o.terminal.Serve(ctx, ln)
}

// answer tells a POS who it is.
func (o *operator) answer(w http.ResponseWriter, r *http.Request) {
	pos, ok := pairing.POSFrom(r.Context())
	if !ok {
		http.Error(w, "nobody has asked", http.StatusForbidden)
		return
	}
	o.say(terminalEvent{Event: "request", Address: r.RemoteAddr, POSID: pos.ID, Method: r.Method, Path: r.URL.Path})
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s %s\npos: %s\nclient: %s\n", clean(r.Method), clean(r.URL.Path),
		cell(pos.ID), cell(pos.Certificate.Subject.String()))
}
