// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// manCommand is hidden: packages have the pages already.
func (a *app) manCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "man DIR",
		Short: "write the manual pages",
		Long: "man writes a manual page for each command to DIR, which is made if it is not there:\n" +
			"hsmtls.1, hsmtls-cert-renew.1 and so on. Pages that are there are replaced.\n\nJSON: dir, pages (the names of the files).",
		Example: "  hsmtls man ~/.local/share/man/man1",
		Args:    takes("DIR"),
		Hidden:  true,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	c.RunE = func(cmd *cobra.Command, args []string) error { a.running = true; return a.man(cmd.Root(), args[0]) }
	return c
}

func (a *app) man(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pages := manPages(root, thisBuild())
	names := make([]string, len(pages))
	for i, page := range pages {
		names[i] = page.file()
		if err := replaceFile(filepath.Join(dir, names[i]), []byte(page.roff())); err != nil {
			return err
		}
	}
	v := struct {
		Dir   string   `json:"dir"`
		Pages []string `json:"pages"`
	}{dir, names}
	return a.did(v, "%d pages in %s", len(names), clean(dir))
}

// manPages returns the pages of the commands that are there for users. help
// has none: man is that.
func manPages(c *cobra.Command, b build) []manPage {
	if c.Hidden || c.Name() == "help" {
		return nil
	}
	if !c.HasParent() {
		c.InitDefaultCompletionCmd()
	}
	c.InitDefaultHelpFlag()
	pages := []manPage{{c, b}}
	for _, sub := range c.Commands() {
		pages = append(pages, manPages(sub, b)...)
	}
	return pages
}

// exitStatuses are the exit statuses with their meanings, as rootHelp has them.
func exitStatuses() [][2]string {
	_, list, _ := strings.Cut(rootHelp, "Exit status: ")
	list, _, _ = strings.Cut(list, ".")
	var all [][2]string
	for s := range strings.SplitSeq(strings.Join(strings.Fields(list), " "), ", ") {
		status, meaning, _ := strings.Cut(s, " ")
		all = append(all, [2]string{status, meaning})
	}
	return all
}

// moreEnv are the variables without a flag of their own.
var moreEnv = map[string]string{
	"HSMTLS_SERIAL":  "serial number of the token, where a label does not tell it from others",
	"HSMTLS_SLOT":    "number of the slot that has the token",
	"XDG_STATE_HOME": "folder of what programs keep, such as the journals of hsmtls terminal; ~/.local/state if missing",
}

// manFiles are the files hsmtls knows without being told of them.
var manFiles = [][2]string{
	{"/var/lib/hsmtls", "journals of hsmtls terminal, if it runs as root and $XDG_STATE_HOME is not set"},
	{"~/.local/state/hsmtls", "the same for other users"},
}

// manName is the name of a command's page.
func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }
