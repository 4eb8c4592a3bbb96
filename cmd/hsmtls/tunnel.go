// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

func (a *app) tunnelCommand() *cobra.Command {
	return group("tunnel", "mutual TLS for programs that have none", a.tunnelServerCommand(), a.tunnelClientCommand())
}

const tunnelHelp = `An address is HOST:PORT, or unix:PATH. The plain side has to be on loopback or a Unix
socket, unless --unsafe-plain says that the network may see it.

tunnel says "listening on ADDR" on standard output, and on standard error what became of
each connection. With SIGINT or SIGTERM it stops listening, lets connections finish for
--drain-timeout, breaks the rest off, and ends with exit status 0; a second signal ends it
at once. What other programs change on the token, in the trust store or of its own
certificate, comes into force every --refresh, and at once with SIGHUP. Connections stay,
unless their peer is not trusted any more; what cannot be read leaves all as it was.

` + operationsHelp + `

The rules --allow-... may be repeated. A peer is accepted if the trust store trusts it and
one rule names it, exactly.

JSON: one object a line: time, level, msg (listening, admin, connection closed, connection
refused, token read again, draining and warnings), and address, or reason, from, target,
to_target and from_target (bytes), duration (nanoseconds), peer, serial, spki, error.`

func (a *app) tunnelServerCommand() *cobra.Command {
	t := &tunnelRun{app: a, operations: operations{app: a}, cfg: tunnel.Config{Mode: tunnel.Server}}
	c := &cobra.Command{
		Use:   "server --listen ADDR --target ADDR --alias ALIAS",
		Short: "accept mutual TLS, forward plain bytes",
		Long: `tunnel server accepts connections with mutual TLS and forwards what they carry to a
target without TLS. At least one --allow-... says who is accepted; --allow-all accepts
whomever the trust store trusts.

` + tunnelHelp,
		Example: "  hsmtls tunnel server --listen :8443 --target 127.0.0.1:8080 --alias server_pub --allow-cn till-1\n" +
			"  hsmtls tunnel server --listen :5433 --target unix:/run/db.sock --alias server_pub --allow-ou tills --proxy-protocol",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE:              a.does(t.run),
	}
	t.flags(c, "clients")
	c.Flags().BoolVar(&t.cfg.AllowAll, "allow-all", false, "accept all clients that the trust store trusts")
	c.Flags().StringArrayVar(&t.posIDs, "allow-pos-id", nil, "accept the POS paired as `ID`")
	c.Flags().BoolVar(&t.cfg.ProxyProtocol, "proxy-protocol", false, "tell the target who connects (PROXY protocol, version 2)")
	c.Flags().IntVar(&t.cfg.MaxPending, "max-pending", 256, "refuse more than `N` unfinished handshakes")
	return c
}

func (a *app) tunnelClientCommand() *cobra.Command {
	t := &tunnelRun{app: a, operations: operations{app: a}, cfg: tunnel.Config{Mode: tunnel.Client}}
	c := &cobra.Command{
		Use:   "client --listen ADDR --target ADDR --alias ALIAS",
		Short: "accept plain bytes, dial with mutual TLS",
		Long: `tunnel client accepts connections without TLS and forwards what they carry over
mutual TLS. Whoever can connect to it speaks with the identity of ALIAS: a Unix socket
is open to its owner alone, a port to every user of this machine. The server has to
prove --name, and if there are --allow-... one of them has to name it.

` + tunnelHelp,
		Example: "  hsmtls tunnel client --listen unix:/run/app/acquirer.sock --target host.acquirer.example:8443 --alias terminal_pub\n" +
			"  hsmtls tunnel client --listen 127.0.0.1:5432 --target 192.0.2.7:5433 --alias terminal_pub --name db.example",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE:              a.does(t.run),
	}
	t.flags(c, "servers")
	c.Flags().StringVar(&t.cfg.ServerName, "name", "", "`NAME` or address that the server has to prove; that of the target if missing")
	return c
}

// run is the command, once its flags are known.
func (t *tunnelRun) run(ctx context.Context, _ []string) error {
	if err := t.settle(); err != nil {
		return err
	}
	if err := t.cfg.Check(); err != nil {
		return unfit(err)
	}
	if err := t.operations.check(); err != nil {
		return err
	}
	return t.withTrust(ctx, func(tok *hsm.Token, trust *truststore.Store) error {
		t.keys, t.trust = keystore.New(tok), trust
		t.cfg.Logger = t.app.journal()
		t.cfg.Provider = &hsmtls.Provider{
			Keys: t.keys, Trust: trust, Logger: t.cfg.Logger,
			HandshakeTimeout: t.handshakeTimeout, MaxConnAge: t.lifetime,
		}
		t.operations.observe(t.cfg.Provider)
		return t.serve(ctx, tok)
	})
}

// withTrust opens the trust store, with the POS in it if a rule is about one.
func (t *tunnelRun) withTrust(ctx context.Context, f func(*hsm.Token, *truststore.Store) error) error {
	if len(t.posIDs) > 0 {
		return t.app.withPaired(ctx, f)
	}
	return t.app.withTrust(ctx, f)
}

func (t *tunnelRun) serve(ctx context.Context, tok *hsm.Token) error {
	tun, err := tunnel.Listen(ctx, t.cfg)
	if err != nil {
		return err
	}
	t.operations.audit.nameRefused(t.cfg.Provider)
	run := running{
		command: "tunnel " + t.cfg.Mode.String(), alias: t.cfg.Alias,
		token: tok, keys: t.keys, trust: t.trust, provider: t.cfg.Provider, tunnel: tun.Status,
		say: func(address string) { t.say("admin", address) },
	}
	stop, err := t.operations.start(ctx, run)
	if err != nil {
		tun.Close()
		return err
	}
	defer stop()
	defer t.follower(run).start(context.WithoutCancel(ctx))() // also while connections drain
	t.listening(tun)
	t.operations.enter(ready)
	return tun.Serve(ctx)
}

func (t *tunnelRun) follower(r running) *follower {
	f := t.operations.follower(r)
	f.read = func() { t.cfg.Logger.Info("token read again") }
	f.failed = func(err error) { t.cfg.Logger.Warn(unread, slog.Any("error", err)) }
	return f
}

// listening says so. It is the result of the command.
func (t *tunnelRun) listening(tun *tunnel.Tunnel) {
	address := tun.Addr().String()
	if tun.Addr().Network() == "unix" {
		address = "unix:" + address
	}
	t.say("listening", address)
}

// say tells where something is.
func (t *tunnelRun) say(what, address string) {
	if t.app.globals.json {
		t.cfg.Logger.Info(what, slog.String("address", address))
		return
	}
	fmt.Fprintf(t.app.stdout, "%s on %s\n", what, address)
}

// journal is where records go that a machine can read: as text to standard error,
// as JSON to standard output.
func (a *app) journal() *slog.Logger {
	if a.globals.json {
		return slog.New(slog.NewJSONHandler(a.stdout, nil))
	}
	return slog.New(slog.NewTextHandler(a.stderr, nil))
}

// unfit is a configuration that is refused, in terms of flags.
func unfit(err error) error {
	switch {
	case errors.Is(err, tunnel.ErrNoRules):
		return usagef("no rule says who is accepted: --allow-cn and the like do, or --allow-all")
	case errors.Is(err, tunnel.ErrPlain):
		return usagef("%w; --unsafe-plain lets it be on the network", err)
	}
	return &usageError{err}
}
