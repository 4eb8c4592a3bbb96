// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// A posRenewal is the flags of pair renew.
type posRenewal struct {
	url, link, name, out, alias string
	newKey                      bool
	within                      time.Duration
}

func (a *app) pairRenew() *cobra.Command {
	var r posRenewal
	c := &cobra.Command{
		Use:   "renew {URL | --link LINK}",
		Short: "get another certificate with the present one, before that expires",
		Long: `renew connects to a terminal as the POS that pair has left in the folder of --out, asks
for another certificate, and puts it in the place of the present one. No code is needed.
The terminal accepts both until the new one has been used. If anything fails, the old
files stay; should the power fail in the middle, renew can be called again.

LINK is what pair was given. Its address and name are used; the root stays the one in the
folder, so that another root takes another code.

The key stays the same, unless --new-key makes another here. With --alias it is the one on
the token that ALIAS has, and the certificate there is replaced too.

With --within nothing is done as long as the certificate is good for longer than that, so
that renew can be run every day. The advice is 30 days: --within 720h.

JSON: pos_id, out, alias (empty without --alias), certificate
` + certificateHelp + ".",
		Example: "  hsmtls pair renew https://192.0.2.7:8443 --name t-0042.terminals.example --out till-3",
		Args:    takesURLOrLink, ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			r.url = strings.Join(args, "")
			if r.within < 0 {
				return usagef("invalid argument %v for --within: it is a time", r.within)
			}
			if r.alias != "" {
				return a.withKeys(ctx, func(keys *keystore.Store) error { return a.renewPOS(ctx, keys, r) })
			}
			return a.renewPOS(ctx, nil, r)
		}),
	}
	f := c.Flags()
	linkFlag(c, &r.link, "URL and --name")
	f.StringVar(&r.name, "name", "", "device `NAME` that the terminal has to prove; the host of URL if missing")
	f.StringVar(&r.out, "out", "", "`DIR` that pair has filled")
	f.StringVar(&r.alias, "alias", "", "`ALIAS` of the certificate on the token, if the key is there")
	f.BoolVar(&r.newKey, "new-key", false, "make another key here")
	f.DurationVar(&r.within, "within", 0, "do nothing unless the certificate expires within this `TIME`, such as 720h")
	mustHave(c, "out")
	c.MarkFlagsMutuallyExclusive("alias", "new-key")
	_ = c.MarkFlagDirname("out")
	return c
}

// renewPOS has keys if the key of the POS is on a token.
func (a *app) renewPOS(ctx context.Context, keys *keystore.Store, r posRenewal) error {
	client, err := clientOf(r.url, r.link, r.name)
	if err != nil {
		return err
	}
	bundle, err := presentBundle(ctx, keys, r)
	if err != nil {
		return err
	}
	place := posPlace{bundle.POSID(), r.out, r.alias}
	if r.within > 0 && time.Now().Add(r.within).Before(bundle.Expires()) {
		return a.paired("still paired as", bundle, place)
	}
	if client.Root, err = pairing.RootOf(bundle.Root); err != nil {
		return err
	}
	var key crypto.Signer // nil is the present one
	if r.newKey {
		if key, err = newPOSKey(); err != nil {
			return err
		}
	}
	renewed, err := client.Renew(ctx, bundle, key)
	switch {
	case isRemoteAlert(err):
		return fmt.Errorf("%w: %w", errNotLetIn, err)
	case err != nil:
		return err
	}
	if keys != nil {
		if err := keys.Replace(ctx, r.alias, renewed.Chain); err != nil {
			return err
		}
	}
	if err := renewed.Save(r.out); err != nil {
		return err
	}
	return a.paired("renewed as", renewed, place)
}

var (
	// errNotLetIn is a handshake that the terminal has ended.
	errNotLetIn = errors.New("terminal does not let this POS in")

	errKeyElsewhere = errors.New("private key is not there; --alias ALIAS names it if it is on a token")
)

// presentBundle reads what the POS has. What the token has prevails over files.
func presentBundle(ctx context.Context, keys *keystore.Store, r posRenewal) (*pairing.Bundle, error) {
	b, err := pairing.LoadBundle(r.out)
	if err != nil {
		return nil, err
	}
	if keys == nil {
		if b.Key == nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(r.out, "key.pem"), errKeyElsewhere)
		}
		return b, nil
	}
	i, err := keys.Identity(ctx, r.alias)
	if err != nil {
		return nil, err
	}
	chain, ok := complete(i.Chain, b.Chain[len(b.Chain)-1:])
	if !ok {
		return nil, fmt.Errorf("certificate %q: %w", r.alias, errRootless)
	}
	b.Key, b.Chain = i.Key, chain
	return b, nil
}
