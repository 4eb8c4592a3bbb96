// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// units are the unit files, by name, as lists of KEY=VALUE.
func units(t *testing.T) map[string][]string {
	t.Helper()
	paths, err := filepath.Glob("../../dist/systemd/*.service")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	all := make(map[string][]string)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != '[' {
				require.Contains(t, line, "=", path)
				all[filepath.Base(path)] = append(all[filepath.Base(path)], line)
			}
		}
	}
	return all
}

// values are those of a key.
func values(unit []string, key string) (all []string) {
	for _, line := range unit {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			all = append(all, value)
		}
	}
	return all
}

// TestUnitsRunCommands holds that what the units start exists, flags included, with every
// flag that the command must have.
func TestUnitsRunCommands(t *testing.T) {
	t.Parallel()
	for name, unit := range units(t) {
		starts := values(unit, "ExecStart")
		require.Len(t, starts, 1, name)
		words := strings.Fields(starts[0])
		require.Equal(t, "/usr/bin/hsmtls", words[0], name)
		words = slices.DeleteFunc(words, func(word string) bool { return word == "$OPTIONS" })
		c, rest, err := new(app).root().Find(words[1:])
		require.NoError(t, err, name)
		require.True(t, c.Runnable() && !c.HasSubCommands(), "%s starts %s", name, c.CommandPath())
		require.NoError(t, c.ParseFlags(rest), name)
		require.NoError(t, c.ValidateArgs(c.Flags().Args()), name)
		require.NoError(t, c.ValidateRequiredFlags(), name)
		require.NotNil(t, c.Flags().Lookup("audit-log"), name)
		require.True(t, c.Flags().Changed("audit-log"), name)
		require.Equal(t, []string{"man:" + strings.ReplaceAll(c.CommandPath(), " ", "-") + "(1)"}, values(unit, "Documentation"), name)
	}
}

// TestUnitsKeepPromises holds what docs/operations.md says of all units.
func TestUnitsKeepPromises(t *testing.T) {
	t.Parallel()
	for name, unit := range units(t) {
		for key, want := range map[string]string{
			"Type":                     "notify",
			"ExecReload":               "/bin/kill -HUP $MAINPID",
			"Restart":                  "on-failure",
			"RestartPreventExitStatus": "3", // 2 would include what the watchdog has aborted
			"KillMode":                 "mixed",
			"LoadCredential":           "pin:/etc/hsmtls/pin",
			"NoNewPrivileges":          "yes",
			"ProtectSystem":            "strict",
			"CapabilityBoundingSet":    "",
			"LimitCORE":                "0",
		} {
			require.Equal(t, []string{want}, values(unit, key), "%s: %s", name, key)
		}
		require.Len(t, values(unit, "WatchdogSec"), 1, name)
		require.Contains(t, values(unit, "Environment"), "HSMTLS_PIN_FILE=%d/pin", name)
		for _, line := range unit {
			require.NotContains(t, line, "--pin-file", "a PIN comes from the credential")
		}
	}
	require.Equal(t, []string{"null"}, values(units(t)["hsmtls-terminal.service"], "StandardOutput"), "it has the setup codes")
}

// TestUnitsAreUnderstood asks systemd, where there is one.
func TestUnitsAreUnderstood(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		return // the tests above need none
	}
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	paths, err := filepath.Glob("../../dist/systemd/*.service")
	require.NoError(t, err)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		text = regexp.MustCompile(`/usr/bin/hsmtls\b`).ReplaceAll(text, []byte(self)) // which is not installed
		copied := filepath.Join(dir, filepath.Base(path))
		require.NoError(t, os.WriteFile(copied, text, 0o600))
		out, err := exec.Command(analyze, "verify", "--man=no", copied).CombinedOutput()
		require.NoError(t, err, "%s: %s", path, out)
		require.Empty(t, string(out), path)
		out, err = exec.Command(analyze, "security", "--offline=yes", "--threshold=20", copied).CombinedOutput()
		require.NoError(t, err, "%s: %s", path, out)
	}
}
