// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// A build is how this program came to be, as Go knows it: from the repository it
// is built in, or from the module's download. JSON has these fields.
type build struct {
	Version  string `json:"version"`  // "(devel)" if nobody knows; ends in +dirty if the revision had been changed
	Revision string `json:"revision"` // empty if not built from a repository
	Time     string `json:"time"`     // of the revision, RFC 3339; empty likewise
	Go       string `json:"go"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Long: "version prints the version of hsmtls, its revision and the time of that, and the Go\n" +
			"release that built it. What is not known is left out.\n\nJSON: version, revision, time, go.",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE:              func(*cobra.Command, []string) error { a.running = true; return a.version() },
	}
}

// thisBuild is the build of this program.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return buildOf(info)
}

// buildOf is the build that Go describes.
func buildOf(info *debug.BuildInfo) build {
	b := build{Version: cmp.Or(info.Main.Version, "(devel)"), Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		}
	}
	return b
}

func (a *app) version() error {
	b := thisBuild()
	return a.show(b, func(w io.Writer) {
		fields(w, "version", b.Version, "revision", b.Revision, "time", b.Time, "go", b.Go)
	})
}
