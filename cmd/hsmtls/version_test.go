// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBuildOf(t *testing.T) {
	t.Parallel()
	repository := []debug.BuildSetting{
		{Key: "vcs", Value: "git"},
		{Key: "vcs.revision", Value: "4ad1"},
		{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
	}
	for name, test := range map[string]struct {
		module   string // the version Go knows
		settings []debug.BuildSetting
		want     build
	}{
		"nothing known":     {want: build{Version: "(devel)"}},
		"go run":            {module: "(devel)", want: build{Version: "(devel)"}},
		"go install of one": {module: "v1.2.3", want: build{Version: "v1.2.3"}},
		"a tag":             {module: "v1.2.3", settings: repository, want: build{"v1.2.3", "4ad1", "2026-01-02T03:04:05Z", ""}},
		"a changed clone":   {module: "v1.2.3+dirty", settings: repository, want: build{"v1.2.3+dirty", "4ad1", "2026-01-02T03:04:05Z", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			info := &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: test.module}, Settings: test.settings}
			test.want.Go = "go1.26.0"
			require.Equal(t, test.want, buildOf(info))
		})
	}
}
