// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/keystore"
)

func (a *app) certInject() *cobra.Command {
	var keyAlias string
	var replace bool
	c := &cobra.Command{
		Use:   "inject ALIAS CHAIN.pem {--key KEYALIAS | --replace}",
		Short: "put the certificate of a key on the token",
		Long: `inject writes a certificate and its issuers to the token, under the alias by which
dial and serve select it. CHAIN.pem has the certificate of the key first, then its
issuers, each signed by the next; "-" is standard input.

--key names the key the certificate is for. A certificate for another key, one that
is weak or out of date, and one that is not signed by the next are refused, and
nothing is written. One key may have several certificates, under an alias each.

--replace gives an alias that is there already a new certificate for the same key,
without a moment in which there is none.

JSON: ` + identityHelp,
		Example:           "  hsmtls cert inject terminal_pub chain.pem --key terminal\n  hsmtls cert inject terminal_pub renewed.pem --replace",
		Args:              takes("ALIAS", "CHAIN.pem"),
		ValidArgsFunction: completes(nil, certificateFiles),
		RunE: a.does(func(ctx context.Context, args []string) error {
			chain, err := a.readCertificates(args[1])
			if err != nil {
				return err
			}
			return a.withKeys(ctx, func(keys *keystore.Store) error {
				if replace {
					return a.replaceCert(ctx, keys, args[0], keyAlias, chain)
				}
				if err := keys.Inject(ctx, args[0], keyAlias, chain); err != nil {
					return err
				}
				return a.injected(ctx, keys, args[0], "injected")
			})
		}),
	}
	c.Flags().StringVar(&keyAlias, "key", "", "`KEYALIAS` of the key the certificate is for")
	c.Flags().BoolVar(&replace, "replace", false, "replace the certificate that has this alias")
	c.MarkFlagsOneRequired("key", "replace")
	return c
}

// replaceCert holds --key, if it is given, to what the alias has now.
func (a *app) replaceCert(ctx context.Context, keys *keystore.Store, alias, keyAlias string, chain []*x509.Certificate) error {
	if keyAlias != "" {
		i, err := keys.Identity(ctx, alias)
		if err != nil {
			return err
		}
		if has := i.Key.Info().Alias; has != keyAlias {
			return fmt.Errorf("replace %q: %w: its key is %q, not %q", alias, keystore.ErrMismatch, has, keyAlias)
		}
	}
	if err := keys.Replace(ctx, alias, chain); err != nil {
		return err
	}
	return a.injected(ctx, keys, alias, "replaced")
}

func (a *app) injected(ctx context.Context, keys *keystore.Store, alias, verb string) error {
	i, err := keys.Identity(ctx, alias)
	if err != nil {
		return err
	}
	key := i.Key.Info().Alias
	v := identity{Alias: alias, Key: key, Chain: describeAll(i.Chain), Left: daysLeft(keystore.IdentityInfo{Chain: i.Chain})}
	return a.did(v, "%s certificate %s for key %s: %s, until %s", verb,
		cell(alias), cell(key), cell(v.Chain[0].Subject), date(v.Chain[0].NotAfter))
}
