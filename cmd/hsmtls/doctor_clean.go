// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// cleanCommand removes what checkLeftovers finds.
func (a *app) cleanCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "clean",
		Short: "remove what interrupted writes have left on the token",
		Long: `clean removes objects that a write has left on the token which was cut short, by a
power failure for instance. They are of no use to anybody. No other process should be
writing meanwhile: its work looks the same. What was left of trusted entries is removed
if a root is named, or with --token-anchors.

JSON: removed, the labels.`,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			anchors, err := a.anchors()
			if err != nil && !errors.Is(err, errNoRoots) {
				return err
			}
			rooted := err == nil
			return a.withToken(ctx, func(tok *hsm.Token) error { return a.clean(ctx, tok, anchors, rooted) })
		}),
	}
}

func (a *app) clean(ctx context.Context, tok *hsm.Token, anchors truststore.Anchors, rooted bool) error {
	removed := struct {
		Removed []string `json:"removed"`
	}{[]string{}}
	own, err := keystore.New(tok).Clean(ctx)
	if err != nil {
		return err
	}
	for _, l := range own {
		removed.Removed = append(removed.Removed, l.Label)
	}
	if rooted {
		trust, err := a.openTrust(ctx, tok, anchors)
		if err != nil {
			return err
		}
		theirs, err := trust.Clean(ctx)
		if err != nil {
			return err
		}
		for _, l := range theirs {
			removed.Removed = append(removed.Removed, l.Label)
		}
	}
	return a.did(removed, "removed %s", count(len(removed.Removed), "object", "objects"))
}
