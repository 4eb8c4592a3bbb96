// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// shown returns the commands that users see, help aside.
func shown(t *testing.T, c *cobra.Command) (all []*cobra.Command) {
	t.Helper()
	for _, c := range commands(c) {
		if !c.Hidden && c.Name() != "help" {
			all = append(all, c)
		}
	}
	require.NotEmpty(t, all)
	return all
}

// flagsOf returns the flags of these sets that users see.
func flagsOf(sets ...*pflag.FlagSet) (names []string) {
	for _, set := range sets {
		set.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, "--"+f.Name)
			}
		})
	}
	return names
}

// TestManPages holds that each command has a page, and each of its flags a
// place there.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "share", "man1")
	var out, errs bytes.Buffer
	require.Equal(t, exitOK, run(t.Context(), []string{"man", dir}, nil, &out, &errs), errs.String())
	root := new(app).root()
	root.InitDefaultCompletionCmd()
	all := shown(t, root)
	for _, c := range all {
		page, err := os.ReadFile(filepath.Join(dir, manName(c)+".1"))
		require.NoError(t, err)
		require.Contains(t, string(page), "\n"+escape(manName(c)+" - "+c.Short)+"\n")
		for _, flag := range flagsOf(c.NonInheritedFlags(), c.InheritedFlags()) {
			require.Regexp(t, regexp.MustCompile(`(?m)^\.TP\n\\fB(\\-h, )?`+regexp.QuoteMeta(escape(flag))+`\\fR`), string(page), manName(c))
		}
		for _, sub := range c.Commands() {
			require.Equal(t, sub.Hidden || sub.Name() == "help", !strings.Contains(string(page), escape(manName(sub))+`\fR(1)`), manName(sub))
		}
	}
	written, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, written, len(all), "a page is about no command")
	require.Equal(t, fmt.Sprintf("%d pages in %s\n", len(all), dir), out.String())
}

// TestManPagesAreRoff holds that no line is taken for something else: all that
// begins like a command is one of the few in use, and fonts and lists end.
func TestManPagesAreRoff(t *testing.T) {
	t.Parallel()
	known := regexp.MustCompile(`^\.(TH|SH|TP|PP|RS|RE|nf|fi|br)( ".*")*$`)
	escapes := regexp.MustCompile(`\\(\(..|\[u[0-9A-F]{4,5}\]|-|&|f[BR])`)
	for _, page := range manPages(new(app).root(), build{Version: "v1.2.3", Time: "2026-01-02T03:04:05Z"}) {
		text := page.roff()
		require.True(t, strings.HasPrefix(text, `.TH "`), page.file())
		require.Contains(t, strings.SplitN(text, "\n", 2)[0], `"2026-01-02" "hsmtls v1.2.3"`)
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
				require.Regexp(t, known, line, page.file())
			}
			require.NotContains(t, escapes.ReplaceAllString(line, ""), `\`, page.file())
			require.Equal(t, strings.Count(line, `\fB`), strings.Count(line, `\fR`), page.file())
		}
		require.Equal(t, strings.Count(text, "\n.nf\n"), strings.Count(text, "\n.fi\n"), page.file())
	}
}

func TestRoff(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"filled":          {"one\ntwo", "one\ntwo\n"},
		"two paragraphs":  {"one\n\ntwo\n", "one\n.PP\ntwo\n"},
		"no command":      {".so x\n'x", "\\&.so x\n\\(aqx\n"},
		"no escape":       {`a\nb`, "a\\(rsnb\n"},
		"shell":           {"--x '`\"^~", "\\-\\-x \\(aq\\(ga\\(dq\\(ha\\(ti\n"},
		"beyond ASCII":    {"…", "\\[u2026]\n"},
		"kept lines":      {"see:\n  a  b\n    c\nthen", "see:\n.RS \"4\"\n.nf\na  b\n  c\n.fi\n.RE\nthen\n"},
		"nothing at last": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := new(roff)
			if test.text != "" {
				r.text(test.text)
			}
			require.Equal(t, test.want, r.String())
		})
	}
}

// TestManKnowsTheRest holds what the page of hsmtls itself has, to what the
// commands say elsewhere.
func TestManKnowsTheRest(t *testing.T) {
	t.Parallel()
	root := new(app).root()
	text := manPages(root, build{})[0].roff()
	for status, meaning := range map[int]string{exitOK: "done", exitFailed: "refused or failed", exitUsage: "not understood"} {
		require.Contains(t, text, fmt.Sprintf(".TP\n\\fB%d\\fR\n%s\n", status, meaning))
	}
	variable := regexp.MustCompile(`\$((?:HSMTLS|XDG)_[A-Z_]+)`)
	found := 0
	for _, c := range shown(t, root) {
		about := c.Long + c.NonInheritedFlags().FlagUsages()
		for _, m := range variable.FindAllStringSubmatch(about, -1) {
			found++
			require.Contains(t, text, ".TP\n\\fB"+m[1]+"\\fR\n", "%s speaks of it", c.CommandPath())
		}
	}
	require.NotZero(t, found)
	for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES"} {
		require.Equal(t, 1, strings.Count(text, "\n.SH \""+section+"\"\n"), section)
	}
}

// TestManNeedsItsFolder is about a DIR that is no folder.
func TestManNeedsItsFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	var out, errs bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), []string{"man", file}, nil, &out, &errs))
	require.Empty(t, out.String())
}

// TestCompletion asks, as the completions of all shells do, for what may stand
// next: each command and each flag has to come.
func TestCompletion(t *testing.T) {
	t.Parallel()
	root := new(app).root()
	root.InitDefaultCompletionCmd()
	for _, c := range shown(t, root) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			path := strings.Fields(c.CommandPath())[1:]
			for _, flag := range append(flagsOf(c.NonInheritedFlags()), "--json") { // one that all have
				require.True(t, completions(t, append(path, flag))[flag], flag) // after -- alone come those that are required
			}
			if !c.HasSubCommands() {
				return
			}
			offered := completions(t, append(path, ""))
			for _, sub := range c.Commands() {
				require.Equal(t, !sub.Hidden, offered[sub.Name()], sub.Name())
			}
		})
	}
}

// completions are what may follow args.
func completions(t *testing.T, args []string) map[string]bool {
	t.Helper()
	var out, errs bytes.Buffer
	require.Equal(t, exitOK, run(t.Context(), append([]string{cobra.ShellCompNoDescRequestCmd}, args...), nil, &out, &errs), errs.String())
	offered := make(map[string]bool)
	for line := range strings.Lines(out.String()) {
		offered[strings.TrimSpace(line)] = true
	}
	return offered
}

// TestCompletionScripts holds that there is one for each shell, and that it
// asks hsmtls.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out, errs bytes.Buffer
		require.Equal(t, exitOK, run(t.Context(), []string{"completion", shell}, nil, &out, &errs), errs.String())
		require.Contains(t, out.String(), "__complete", shell)
	}
}
