// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "print the version",
		Long:              "version prints the version of hsmtls, its revision, and the Go release that built it.\n\nJSON: version, revision, go.",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE:              func(*cobra.Command, []string) error { a.running = true; return a.version() },
	}
}

func (a *app) version() error {
	v := struct {
		Version  string `json:"version"`
		Revision string `json:"revision"` // empty if not built from a repository
		Go       string `json:"go"`
	}{Version: "(devel)", Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return a.show(v, func(w io.Writer) {
		fields(w, "version", v.Version, "revision", v.Revision, "go", v.Go)
	})
}
