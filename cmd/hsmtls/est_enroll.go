// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/est"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// An enrolment is the flags of est enroll.
type enrolment struct {
	server   estServer
	key, typ string
	present  string
	request  csrRequest

	alias   string
	keyType keystore.KeyType
	parsed  keystore.Request
}

func (a *app) estEnroll() *cobra.Command {
	var e enrolment
	c := &cobra.Command{
		Use:   "enroll URL ALIAS",
		Short: "get a first certificate for a key from an EST server",
		Long: `enroll asks an EST server for the certificate of a key and injects it under ALIAS. With
--type the key is made first, inside the token; without, it has to be there.

The server has to be trusted already, by trust inject. It recognises the terminal by
--user and a password in a file, by a certificate that is there already (--present), or
by both.

If the server refuses, or cannot be reached, a key that was made stays: try again
without --type. hsmtls cert renew ALIAS --est URL gets the next certificate.

JSON: ` + identityHelp,
		Example: "  hsmtls est enroll https://est.example:8443 terminal_pub --key terminal --type p256 \\\n" +
			"    --subject CN=t-0042 --dns t-0042.example --user t-0042 --password-file password",
		Args:              takes("URL", "ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			e.server.url, e.alias = args[0], args[1]
			if err := e.parse(); err != nil {
				return err
			}
			return a.withEST(ctx, e.server, e.present, func(p *hsmtls.Provider, client *est.Client) error {
				return a.enroll(ctx, p.Keys.(*keystore.Store), client, e)
			})
		}),
	}
	f := c.Flags()
	f.StringVar(&e.key, "key", "", "`KEYALIAS` of the key")
	typeFlag(c, &e.typ, "", ", if it is to be made")
	f.StringVar(&e.present, "present", "", "`ALIAS` of a certificate to present to the server; none if missing")
	f.StringVar(&e.server.user, "user", "", "`NAME` to log in with")
	f.StringVar(&e.server.passwordFile, "password-file", "", "`FILE` with the password, mode 0600")
	e.server.register(c)
	e.request.register(c)
	mustHave(c, "key")
	c.MarkFlagsOneRequired("subject", "dns", "ip", "uri-san")
	c.MarkFlagsRequiredTogether("user", "password-file")
	c.MarkFlagsOneRequired("user", "present")
	return c
}

func (e *enrolment) parse() (err error) {
	if e.typ != "" {
		if e.keyType, err = parseKeyType(e.typ); err != nil {
			return err
		}
	}
	e.parsed, err = e.request.parse()
	return err
}

func (a *app) enroll(ctx context.Context, keys *keystore.Store, client *est.Client, e enrolment) error {
	if e.typ != "" {
		if _, err := keys.Generate(ctx, e.key, e.keyType); err != nil {
			return err
		}
	}
	csr, err := keys.CSR(ctx, e.key, e.parsed)
	if err != nil {
		return err
	}
	chain, err := client.SimpleEnroll(ctx, csr)
	if err != nil {
		a.quote(err)
		return fmt.Errorf("enroll key %q: %w", e.key, err)
	}
	if err := keys.Inject(ctx, e.alias, e.key, chain); err != nil {
		return err
	}
	return a.injected(ctx, keys, e.alias, "injected")
}
