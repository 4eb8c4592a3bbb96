// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
)

func (a *app) moduleHostCommand() *cobra.Command {
	return &cobra.Command{
		Use:   hsm.ModuleHostArgument,
		Short: "run a PKCS#11 library for the process that started this one",
		Long: "module-host loads a PKCS#11 library and calls it for the process that started it, and\n" +
			"ends with that. Commands with --isolate start it themselves; a program that uses the\n" +
			"Go library names hsmtls in hsm.Config.ModuleHost. By hand it is of no use.\n\n" +
			"If it is killed, or the library crashes, it is started again, and connections that are\n" +
			"being made wait for it.\n\nJSON: none, it prints nothing.",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE:              a.does(func(context.Context, []string) error { return hsm.ServeModule() }),
	}
}

// moduleHost is this program if the library is to run in a process of its own.
func (g *globals) moduleHost() (string, error) {
	if !g.isolate {
		return "", nil
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("--isolate: %w", err)
	}
	return path, nil
}

// listTokens lists the tokens of the module that the flags name.
func (g *globals) listTokens(ctx context.Context) ([]hsm.Info, error) {
	module, err := g.modulePath()
	if err != nil {
		return nil, err
	}
	host, err := g.moduleHost()
	if err != nil {
		return nil, err
	}
	return hsm.Config{Module: module, ModuleHost: host}.List(ctx)
}
