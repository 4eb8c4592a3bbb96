// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
)

func (a *app) tokenCommand() *cobra.Command {
	return group("token", "look at tokens, initialise them, set their PINs, watch them",
		a.tokenList(), a.tokenInfo(), a.tokenInit(), a.tokenSetPIN(), a.tokenUnblockPIN(), a.tokenWatch())
}

// A token is what is shown of one. JSON has these fields.
type token struct {
	Label        string   `json:"label"` // empty on a blank token
	Serial       string   `json:"serial"`
	Slot         uint     `json:"slot"`
	Initialized  bool     `json:"initialized"`
	Module       string   `json:"module"`
	Library      string   `json:"library"`
	Manufacturer string   `json:"manufacturer"`
	Model        string   `json:"model"`
	Hardware     string   `json:"hardware"`
	Firmware     string   `json:"firmware"`
	FreePublic   int64    `json:"free_public"`  // bytes; -1 if unknown
	FreePrivate  int64    `json:"free_private"` // bytes; -1 if unknown
	MinPIN       int      `json:"min_pin"`
	MaxPIN       int      `json:"max_pin"`
	MaxSessions  int      `json:"max_sessions"` // 0 if unlimited
	Flags        []string `json:"flags"`
	Can          []string `json:"can"`
	Mechanisms   []string `json:"mechanisms"`
}

const tokenHelp = `JSON: label, serial, slot, initialized, module, library, manufacturer, model,
hardware, firmware, free_public, free_private, min_pin, max_pin, max_sessions,
flags, can, mechanisms.`

func describeToken(i hsm.Info) token {
	return token{
		Label: i.Label, Serial: i.Serial, Slot: i.Slot, Initialized: i.Initialized,
		Module: i.Module, Library: i.Library, Manufacturer: i.Manufacturer, Model: i.Model,
		Hardware: i.Hardware, Firmware: i.Firmware, FreePublic: i.FreePublic, FreePrivate: i.FreePrivate,
		MinPIN: i.MinPIN, MaxPIN: i.MaxPIN, MaxSessions: i.MaxSessions,
		Flags: notNil(i.Flags), Can: notNil(i.Can), Mechanisms: notNil(i.Mechanisms),
	}
}

// notNil makes JSON say [] for none.
func notNil(s []string) []string { return append([]string{}, s...) }

func (a *app) tokenList() *cobra.Command {
	return &cobra.Command{
		Use:               "list",
		Short:             "list the tokens of the module",
		Long:              "list shows the tokens of the PKCS#11 module, blank ones too. It needs no PIN.\n\nJSON: an array of what token info shows.",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			found, err := a.globals.listTokens(ctx)
			if err != nil {
				return err
			}
			tokens := []token{}
			for _, info := range found {
				tokens = append(tokens, describeToken(info))
			}
			return a.show(tokens, func(w io.Writer) { printTokens(w, tokens) })
		}),
	}
}

func printTokens(w io.Writer, tokens []token) {
	var rows [][]string
	for _, t := range tokens {
		state := "blank"
		if t.Initialized {
			state = joined(t.Flags)
		}
		rows = append(rows, []string{cell(t.Label), cell(t.Serial), strconv.FormatUint(uint64(t.Slot), 10), cell(t.Model), state})
	}
	table(w, "LABEL|SERIAL|SLOT|MODEL|STATE", rows)
}

func (a *app) tokenInfo() *cobra.Command {
	return &cobra.Command{
		Use:               "info",
		Short:             "describe a token: device, free space, PIN state, what it can do",
		Long:              "info opens the token and describes it.\n\n" + tokenHelp,
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, _ []string) error {
			return a.withToken(ctx, func(tok *hsm.Token) error {
				info, err := tok.Info(ctx)
				if err != nil {
					return err
				}
				t := describeToken(info)
				return a.show(t, t.print)
			})
		}),
	}
}

func (t token) print(w io.Writer) {
	fields(w,
		"label", cell(t.Label),
		"serial", cell(t.Serial),
		"slot", strconv.FormatUint(uint64(t.Slot), 10),
		"module", cell(t.Module),
		"library", cell(t.Library),
		"device", joined([]string{t.Manufacturer, t.Model}),
		"hardware", cell(t.Hardware),
		"firmware", cell(t.Firmware),
		"free", free(t.FreePublic)+" public, "+free(t.FreePrivate)+" private",
		"PIN", fmt.Sprintf("%d to %d bytes", t.MinPIN, t.MaxPIN),
		"sessions", sessions(t.MaxSessions),
		"state", joined(t.Flags),
		"can", joined(t.Can),
	)
}

func free(n int64) string {
	if n < 0 {
		return "unknown"
	}
	return fmt.Sprintf("%d bytes", n)
}

func sessions(n int) string {
	if n == 0 {
		return "no stated limit"
	}
	return strconv.Itoa(n)
}
