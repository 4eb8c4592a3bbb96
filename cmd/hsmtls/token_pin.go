// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
)

func (a *app) tokenInit() *cobra.Command {
	var label, soPINFile, wipe string
	c := &cobra.Command{
		Use:   "init",
		Short: "initialise a blank token and set its PINs",
		Long: `init makes a token out of a blank one, which is the first of the module unless
$HSMTLS_SERIAL or $HSMTLS_SLOT names it. --so-pin-file has the PIN of the
security officer, --pin-file the user's.

A token that is initialised is left alone, unless --wipe-token names its label:
then all its keys and certificates are gone. --so-pin-file has to have its
present PIN of the security officer.

` + tokenHelp,
		Example:           "  hsmtls token init --label terminal --so-pin-file so-pin --pin-file pin",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.initToken(ctx, label, soPINFile, wipe)
		}),
	}
	c.Flags().StringVar(&label, "label", "", "`LABEL` to give to the token")
	c.Flags().StringVar(&soPINFile, "so-pin-file", "", "`FILE` with the PIN of the security officer, mode 0600")
	c.Flags().StringVar(&wipe, "wipe-token", "", "wipe the token that has this `LABEL`, with all its keys and certificates")
	mustHave(c, "label", "so-pin-file")
	return c
}

// mustHave marks flags as required, in their help too. They are not to be empty.
func mustHave(c *cobra.Command, flags ...string) {
	c.PreRunE = func(*cobra.Command, []string) error {
		for _, name := range flags {
			if f := c.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
				return fmt.Errorf("--%s is empty", name)
			}
		}
		return nil
	}
	for _, name := range flags {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that the command has not
		}
		c.Flags().Lookup(name).Usage += " (required)"
	}
}

// initToken takes the label of the token to wipe from its own flag only: the
// one in the environment may be the label the token is about to have.
func (a *app) initToken(ctx context.Context, label, soPINFile, wipe string) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	if cfg.PIN.IsZero() {
		return &usageError{errNewPIN}
	}
	module, err := a.globals.modulePath()
	if err != nil {
		return err
	}
	info, err := hsm.Init(ctx, hsm.InitConfig{
		Module:     module,
		ModuleHost: cfg.ModuleHost,
		Token:      wipe, Serial: cfg.Serial, SlotID: cfg.SlotID,
		Label: label,
		SOPIN: hsm.PINFile(soPINFile),
		PIN:   cfg.PIN,
		Wipe:  wipe != "",
	})
	if err != nil {
		return err
	}
	return a.did(describeToken(info), "initialised token %s, serial %s, slot %d", cell(info.Label), cell(info.Serial), info.Slot)
}

var errNewPIN = errors.New("a new PIN has to come from a file: --pin-file is missing")

func (a *app) tokenSetPIN() *cobra.Command {
	var newPINFile string
	c := &cobra.Command{
		Use:               "set-pin",
		Short:             "change the user PIN",
		Long:              "set-pin changes the user PIN. The present one is that of --pin-file, or asked for:\nonce to log in, once to change it.\n\nJSON: token.",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.setPIN(ctx, hsm.PINFile(newPINFile))
		}),
	}
	c.Flags().StringVar(&newPINFile, "new-pin-file", "", "`FILE` with the new user PIN, mode 0600")
	mustHave(c, "new-pin-file")
	return c
}

// setPIN opens the token with the PIN that is going to be replaced.
func (a *app) setPIN(ctx context.Context, newPIN hsm.PIN) error {
	cfg, err := a.config()
	if err != nil {
		return err
	}
	old := cfg.PIN
	if old.IsZero() {
		old = hsm.PINPrompt("present user PIN, to change it: ")
	}
	return a.withToken(ctx, func(tok *hsm.Token) error {
		if err := tok.SetPIN(ctx, old, newPIN); err != nil {
			return err
		}
		info, err := tok.Info(ctx)
		if err != nil {
			return err
		}
		return a.did(tokenName{info.Label}, "user PIN of token %s changed", cell(info.Label))
	})
}

// A tokenName is the answer of commands that have nothing else to say.
type tokenName struct {
	Token string `json:"token"`
}

func (a *app) tokenUnblockPIN() *cobra.Command {
	var soPINFile, newPINFile string
	c := &cobra.Command{
		Use:               "unblock-pin",
		Short:             "set the user PIN anew as the security officer",
		Long:              "unblock-pin sets the user PIN with the PIN of the security officer, which also\nunlocks it. The present user PIN is not needed.\n\nJSON: token.",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			info, err := hsm.UnblockPIN(ctx, cfg, officerPIN(soPINFile), hsm.PINFile(newPINFile))
			if err != nil {
				return err
			}
			return a.did(tokenName{info.Label}, "user PIN of token %s set", cell(info.Label))
		}),
	}
	c.Flags().StringVar(&soPINFile, "so-pin-file", "", "`FILE` with the PIN of the security officer; asked for if missing")
	c.Flags().StringVar(&newPINFile, "new-pin-file", "", "`FILE` with the new user PIN, mode 0600")
	mustHave(c, "new-pin-file")
	return c
}
