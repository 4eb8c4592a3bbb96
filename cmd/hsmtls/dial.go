// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// A dial is the flags of dial and what it works with.
type dial struct {
	alias string
	name  string
	http  string
	full  bool // --report

	addr  string
	trust *truststore.Store
}

func (a *app) dialCommand() *cobra.Command {
	var d dial
	c := &cobra.Command{
		Use:   "dial HOST:PORT",
		Short: "connect to a server with mutual TLS",
		Long: `dial connects to a server with mutual TLS and says on standard error what was
negotiated, who the server is, which entry makes it trusted, and which alias signed.
Then it sends standard input to the server, and what the server says to standard
output. After the end of standard input it waits until the server closes, or is
silent for five seconds.

With --http it makes one GET request instead and prints the body of the answer; the
exit status is 1 if the answer is an HTTP error.

The exit status is 0 only if both sides proved who they are and accepted each other.

With --json nothing is piped, and the connection is closed after the handshake or
after the answer.

JSON: ` + reportHelp,
		Example: "  hsmtls dial host.acquirer.example:8443 --alias terminal_pub\n" +
			"  hsmtls dial 192.0.2.7:8443 --alias terminal_pub --name host.acquirer.example --http /",
		Args:              takes("HOST:PORT"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			d.addr = args[0]
			if _, _, err := net.SplitHostPort(d.addr); err != nil {
				return usagef("invalid argument %q for HOST:PORT: %w", d.addr, err)
			}
			return a.withProvider(ctx, func(p *hsmtls.Provider, trust *truststore.Store) error {
				d.trust = trust
				return a.dial(ctx, p, d)
			})
		}),
	}
	c.Flags().StringVar(&d.alias, "alias", "", "`ALIAS` of the certificate to present")
	c.Flags().StringVar(&d.name, "name", "", "`NAME` or address that the server has to prove; that of HOST if missing")
	c.Flags().StringVar(&d.http, "http", "", "make a GET request for this `PATH`")
	c.Flags().BoolVar(&d.full, "report", false, "say all that is known of the handshake")
	mustHave(c, "alias")
	return c
}

// withProvider opens what dial and serve need.
func (a *app) withProvider(ctx context.Context, f func(*hsmtls.Provider, *truststore.Store) error) error {
	return a.withTrust(ctx, func(tok *hsm.Token, trust *truststore.Store) error {
		return f(&hsmtls.Provider{Keys: keystore.New(tok), Trust: trust, Logger: a.logger()}, trust)
	})
}

func (a *app) dial(ctx context.Context, p *hsmtls.Provider, d dial) error {
	dialer := &hsmtls.Dialer{Provider: p, Alias: d.alias, ServerName: d.name}
	own, err := p.Keys.Certificate(ctx, d.alias)
	if err != nil {
		return err
	}
	if d.http != "" {
		return a.get(ctx, dialer, d, own.Leaf)
	}
	conn, err := dialer.DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	r, err := d.report(conn, own.Leaf)
	if err != nil {
		return err
	}
	if a.globals.json {
		return a.showJSON(r)
	}
	r.print(a.stderr)
	return pipe(ctx, conn.(*tls.Conn), a.stdin, a.stdout)
}

// A report is what is said of a connection. JSON has these fields.
type report struct {
	Address         string      `json:"address"`
	Name            string      `json:"name"` // that the server has proved
	Alias           string      `json:"alias"`
	Version         string      `json:"version"`
	Suite           string      `json:"suite"`
	Curve           string      `json:"curve"`
	ServerSignature string      `json:"server_signature"`
	ClientSignature string      `json:"client_signature"`
	Server          certificate `json:"server"`
	Client          certificate `json:"client"`
	Entry           string      `json:"entry"`
	HTTP            *answer     `json:"http"`   // null without --http
	Handshake       *handshake  `json:"report"` // null without --report
}

const reportHelp = `address, name, alias, version, suite, curve, server_signature, client_signature,
server, client (certificates), entry (alias of what makes the server trusted), http
(status, body; null without --http); with --report, report
` + handshakeHelp + `; in a certificate
` + certificateHelp + "."

func (d dial) report(conn net.Conn, own *x509.Certificate) (report, error) {
	seen, err := hsmtls.Report(conn)
	if err != nil {
		return report{}, err
	}
	return report{
		Address:         conn.RemoteAddr().String(),
		Name:            d.serverName(),
		Alias:           seen.Alias,
		Version:         tls.VersionName(seen.Version),
		Suite:           tls.CipherSuiteName(seen.CipherSuite),
		Curve:           seen.Curve.String(),
		ServerSignature: seen.ServerSignature.String(),
		ClientSignature: seen.ClientSignature.String(),
		Server:          describe(seen.Peer),
		Client:          describe(own),
		Entry:           entryAlias(d.trust, seen.Entry),
		Handshake:       describeHandshake(d.full, seen, d.trust),
	}, nil
}

func (d dial) serverName() string {
	if d.name != "" {
		return d.name
	}
	host, _, _ := net.SplitHostPort(d.addr)
	return host
}

func (r report) print(w io.Writer) {
	fields(w,
		"connected to", r.Address,
		"protocol", r.Version,
		"suite", r.Suite,
		"curve", r.Curve,
		"server", cell(r.Server.Subject),
		"  proved", cell(r.Name)+", with "+r.ServerSignature,
		"  until", date(r.Server.NotAfter),
		"  sha256", r.Server.Fingerprint,
		"  trusted by", "entry "+cell(r.Entry),
		"client", cell(r.Client.Subject),
		"  signed by", "alias "+cell(r.Alias)+", with "+r.ClientSignature,
	)
	r.Handshake.print(w)
}
