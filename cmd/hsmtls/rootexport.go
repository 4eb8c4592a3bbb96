// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// errRootless is a chain whose root is neither on the token nor named.
var errRootless = errors.New("root of the certificate is not known")

func (a *app) rootCommand() *cobra.Command {
	return group("root", "hand out the root that a POS has to know before it can pair", a.rootExport())
}

func (a *app) rootExport() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "export [ALIAS]",
		Short: "print the root of a certificate, for those who connect to it",
		Long: `export prints the root of the certificate ALIAS as PEM: what a POS is given so that it
recognises the terminal. If the token has the certificate without its root, that is
looked for among --acquirer-root and --vendor-root. Without ALIAS all of these are
printed, and no token is needed.

JSON: certificateChain, the PEM as a string. It is what a POS may fetch from the
acquirer's server.`,
		Example: "  hsmtls root export terminal_pub --out root.pem",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return takes("ALIAS")(cmd, args)
		},
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			return a.exportRoots(ctx, args, out)
		}),
	}
	c.Flags().StringVar(&out, "out", "", "`FILE` to write; standard output if missing")
	return c
}

func (a *app) exportRoots(ctx context.Context, aliases []string, out string) error {
	roots, err := a.rootsOf(ctx, aliases)
	if err != nil {
		return err
	}
	text := pairing.RootPEM(roots...)
	if a.globals.json {
		if text, err = pairing.RootJSON(roots...); err != nil {
			return err
		}
		text = append(bytes.TrimRight(text, "\n"), '\n')
	}
	if err := a.writeOut(out, text); err != nil || out == "" || out == "-" {
		return err
	}
	what := "roots that are named"
	if len(aliases) > 0 {
		what = "root of certificate " + cell(aliases[0])
	}
	return a.did(json.RawMessage(text), "wrote %s, the %s", cell(out), what)
}

// rootsOf returns the root of a certificate on the token, or the roots that are
// named if there is no alias.
func (a *app) rootsOf(ctx context.Context, aliases []string) ([]*x509.Certificate, error) {
	if len(aliases) == 0 {
		return a.namedRoots()
	}
	named, err := a.namedRoots()
	if err != nil && !errors.Is(err, errNoRoots) {
		return nil, err
	}
	var root *x509.Certificate
	err = a.withKeys(ctx, func(keys *keystore.Store) error {
		i, err := keys.Identity(ctx, aliases[0])
		if err != nil {
			return err
		}
		chain, ok := complete(i.Chain, named)
		if !ok {
			return fmt.Errorf("certificate %q: %w", aliases[0], errRootless)
		}
		root = chain[len(chain)-1]
		return nil
	})
	return []*x509.Certificate{root}, err
}

// namedRoots returns all roots that the flags name.
func (a *app) namedRoots() ([]*x509.Certificate, error) {
	anchors, err := a.anchors()
	return slices.Concat(anchors.Acquirer, anchors.Vendor), err
}

// complete adds the root to a chain that ends below one, and reports whether the
// chain ends in a root now.
func complete(chain, roots []*x509.Certificate) ([]*x509.Certificate, bool) {
	last := chain[len(chain)-1]
	if last.CheckSignatureFrom(last) == nil {
		return chain, true
	}
	for _, root := range roots {
		if last.CheckSignatureFrom(root) == nil {
			return append(slices.Clone(chain), root), true
		}
	}
	return chain, false
}
