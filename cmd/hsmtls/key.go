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

func (a *app) keyCommand() *cobra.Command {
	return group("key", "make key pairs inside the token, list and delete them",
		a.keyGenerate(), a.keyList(), a.keyDelete())
}

// A key is what is shown of one. JSON has these fields.
type key struct {
	Alias   string `json:"alias"`
	ID      string `json:"id"` // CKA_ID, hexadecimal
	Type    string `json:"type"`
	Origin  string `json:"origin"`  // "token" or "outside"
	Leaves  bool   `json:"leaves"`  // whether the key can, or ever could, leave the token
	Problem string `json:"problem"` // why the key is refused; empty if it is not
}

const keyHelp = "alias, id, type, origin (token or outside), leaves, problem"

func describeKey(i keystore.KeyInfo) key {
	k := key{
		Alias:   i.Alias,
		ID:      fmt.Sprintf("%x", i.ID),
		Type:    i.Type.String(),
		Origin:  "outside",
		Leaves:  !i.Attributes.NeverExtractable,
		Problem: problem(i.Problem),
	}
	if i.Attributes.Local {
		k.Origin = "token"
	}
	return k
}

// keyTypes are the values of --type, and keyTypeWords says so.
var keyTypes = []string{"rsa2048", "rsa3072", "rsa4096", "p256", "p384"}

const keyTypeWords = "rsa2048, rsa3072, rsa4096, p256 or p384"

// typeFlag registers --type; when says when it counts, and is empty for always.
func typeFlag(c *cobra.Command, typ *string, preset, when string) {
	c.Flags().StringVar(typ, "type", preset, "`TYPE` of the key"+when+": "+keyTypeWords)
	_ = c.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(keyTypes, cobra.ShellCompDirectiveNoFileComp))
}

func parseKeyType(name string) (keystore.KeyType, error) {
	typ, err := keystore.ParseKeyType(name)
	if err != nil {
		return typ, usagef("invalid argument %q for --type: it is %s", name, keyTypeWords)
	}
	return typ, nil
}

func (a *app) keyGenerate() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:               "generate ALIAS",
		Short:             "make a key pair inside the token",
		Long:              "generate makes a key pair inside the token. The private key can sign and nothing\nelse, and never leaves the token.\n\nJSON: " + keyHelp + ".",
		Example:           "  hsmtls key generate terminal --type p256",
		Args:              takes("ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			typ, err := parseKeyType(name)
			if err != nil {
				return err
			}
			return a.withKeys(ctx, func(keys *keystore.Store) error {
				made, err := keys.Generate(ctx, args[0], typ)
				if err != nil {
					return err
				}
				k := describeKey(made.Info())
				return a.did(k, "generated %s key %s inside the token", k.Type, cell(k.Alias))
			})
		}),
	}
	typeFlag(c, &name, "rsa2048", "")
	return c
}

func (a *app) keyList() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "list the private keys on the token",
		Long:              "list shows the private keys on the token, also those that would be refused.\n\nJSON: an array of " + keyHelp + ".",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withKeys(ctx, func(store *keystore.Store) error {
				infos, err := store.Keys(ctx)
				if err != nil {
					return err
				}
				keys := []key{}
				for _, info := range infos {
					keys = append(keys, describeKey(info))
				}
				slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.Alias, b.Alias), cmp.Compare(a.ID, b.ID)) })
				return a.show(keys, func(w io.Writer) { printKeys(w, keys) })
			})
		}),
	}
}

func printKeys(w io.Writer, keys []key) {
	if len(keys) == 0 {
		fmt.Fprintln(w, "no keys")
		return
	}
	var rows [][]string
	for _, k := range keys {
		can := "never"
		if k.Leaves {
			can = "possible"
		}
		rows = append(rows, []string{cell(k.Alias), k.Type, cell(k.ID), k.Origin, can, cell(k.Problem)})
	}
	table(w, "ALIAS|TYPE|ID|MADE IN|EXPORT|PROBLEM", rows)
}

// An aliasName is the answer of commands that have nothing else to say.
type aliasName struct {
	Alias string `json:"alias"`
}

func (a *app) keyDelete() *cobra.Command {
	return &cobra.Command{
		Use:               "delete ALIAS",
		Short:             "destroy a key pair, for good",
		Long:              "delete destroys a key pair. Nothing brings it back. A key with certificates on the\ntoken is left alone.\n\nJSON: alias.",
		Args:              takes("ALIAS"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.withKeys(ctx, func(keys *keystore.Store) error {
				if err := keys.DeleteKey(ctx, args[0]); err != nil {
					return err
				}
				return a.did(aliasName{args[0]}, "destroyed key %s", cell(args[0]))
			})
		}),
	}
}
