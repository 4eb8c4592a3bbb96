// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/keystore"
)

func (a *app) certCommand() *cobra.Command {
	return group("cert", "inject, renew, list and export the certificates of keys on the token",
		a.certInject(), a.certRenew(), a.certList(), a.certShow(), a.certExport(), a.certDelete())
}

// An identity is what is shown of one. JSON has these fields.
type identity struct {
	Alias   string        `json:"alias"`
	Key     string        `json:"key"`     // alias of the key; empty if there is none
	Chain   []certificate `json:"chain"`   // leaf first; empty if it cannot be read
	Left    string        `json:"left"`    // until the first of the chain ends; empty if there is none
	Problem string        `json:"problem"` // why it is refused; empty if it is not
}

const identityHelp = `alias, key, chain (leaf first), left (until the first of
the chain ends), problem; in a chain
` + certificateHelp + "."

func describeIdentity(i keystore.IdentityInfo) identity {
	return identity{Alias: i.Alias, Key: i.KeyAlias, Chain: describeAll(i.Chain), Left: daysLeft(i), Problem: problem(i.Problem)}
}

// identities lists what is on the token, sorted.
func identities(ctx context.Context, keys *keystore.Store) ([]identity, error) {
	infos, err := keys.Identities(ctx)
	if err != nil {
		return nil, err
	}
	all := []identity{}
	for _, info := range infos {
		all = append(all, describeIdentity(info))
	}
	slices.SortStableFunc(all, func(a, b identity) int { return cmp.Compare(a.Alias, b.Alias) })
	return all, nil
}

func (a *app) certList() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "list the certificates of keys on the token",
		Long:              "list shows the certificates of keys on the token, also those that would be\nrefused.\n\nJSON: an array of " + identityHelp,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withKeys(ctx, func(keys *keystore.Store) error {
				all, err := identities(ctx, keys)
				if err != nil {
					return err
				}
				return a.show(all, func(w io.Writer) { printIdentities(w, all) })
			})
		}),
	}
}

func printIdentities(w io.Writer, all []identity) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no certificates")
		return
	}
	var rows [][]string
	for _, i := range all {
		leaf, until := certificate{}, ""
		if len(i.Chain) > 0 {
			leaf, until = i.Chain[0], date(i.Chain[0].NotAfter)
		}
		rows = append(rows, []string{cell(i.Alias), cell(i.Key), cell(leaf.Subject), cell(leaf.Issuer), cell(until), cell(i.Left), cell(i.Problem)})
	}
	table(w, "ALIAS|KEY|SUBJECT|ISSUER|UNTIL|LEFT|PROBLEM", rows)
}

func (a *app) certShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show ALIAS",
		Short:             "describe a certificate and its issuers",
		Long:              "show describes a certificate with its issuers, also one that would be refused.\n\nJSON: " + identityHelp,
		Args:              takes("ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withKeys(ctx, func(keys *keystore.Store) error { return a.showIdentity(ctx, keys, args[0]) })
		}),
	}
}

// showIdentity shows what has the alias, good or bad. Why nothing can be shown
// is for Identity to say.
func (a *app) showIdentity(ctx context.Context, keys *keystore.Store, alias string) error {
	all, err := identities(ctx, keys)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(i identity) bool { return i.Alias != alias })
	if len(all) != 1 {
		_, err := keys.Identity(ctx, alias)
		return err
	}
	return a.show(all[0], all[0].print)
}

func (i identity) print(w io.Writer) {
	fields(w, "alias", cell(i.Alias), "key", cell(i.Key), "left", i.Left, "problem", clean(i.Problem))
	for n, c := range i.Chain {
		fmt.Fprintf(w, "\ncertificate %d of %d\n", n+1, len(i.Chain))
		c.print(w)
	}
}

func (a *app) certExport() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:               "export ALIAS",
		Short:             "print a certificate and its issuers as PEM",
		Long:              "export prints a certificate and those of its issuers that are on the token, as PEM,\nthe certificate of the key first. The private key stays where it is.\n\nJSON: alias, pem.",
		Args:              takes("ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withKeys(ctx, func(keys *keystore.Store) error {
				i, err := keys.Identity(ctx, args[0])
				if err != nil {
					return err
				}
				return a.showFile(out, encodeCertificates(i.Chain), args[0], "certificates of")
			})
		}),
	}
	c.Flags().StringVar(&out, "out", "", "`FILE` to write; standard output if missing")
	return c
}

func (a *app) certDelete() *cobra.Command {
	return &cobra.Command{
		Use:               "delete ALIAS",
		Short:             "delete a certificate; its key stays",
		Long:              "delete removes a certificate, and those of its issuers that nothing else needs. The\nkey stays.\n\nJSON: alias.",
		Args:              takes("ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withKeys(ctx, func(keys *keystore.Store) error {
				if err := keys.DeleteCertificate(ctx, args[0]); err != nil {
					return err
				}
				return a.did(aliasName{args[0]}, "deleted certificate %s", cell(args[0]))
			})
		}),
	}
}
