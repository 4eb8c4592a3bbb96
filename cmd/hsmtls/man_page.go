// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A manPage is the manual page of a command: its help, set by man(7).
type manPage struct {
	command *cobra.Command
	build   build
}

func (p manPage) file() string { return manName(p.command) + ".1" }

// roff returns the page in the language of man(7).
func (p manPage) roff() string {
	c, r := p.command, new(roff)
	day, _, _ := strings.Cut(p.build.Time, "T")
	r.title(strings.ToUpper(manName(c)), day, "hsmtls "+p.build.Version)
	r.section("NAME")
	r.prose(manName(c) + " - " + c.Short)
	r.section("SYNOPSIS")
	p.synopsis(r)
	r.section("DESCRIPTION")
	r.text(cmp.Or(c.Long, c.Short))
	p.commands(r)
	p.flags(r, "OPTIONS", c.NonInheritedFlags())
	p.flags(r, "GLOBAL OPTIONS", c.InheritedFlags())
	if c.HasExample() {
		r.section("EXAMPLES")
		r.verbatim(strings.Split(strings.Trim(c.Example, "\n"), "\n"))
	}
	p.exitStatus(r)
	if !c.HasParent() {
		p.environment(r)
		p.files(r)
	}
	p.seeAlso(r)
	return r.String()
}

// synopsis has the lines of use as the command prints them.
func (p manPage) synopsis(r *roff) {
	_, usage, _ := strings.Cut(p.command.UsageString(), "Usage:\n")
	usage, _, _ = strings.Cut(usage, "\n\n")
	name := p.command.CommandPath()
	for i, line := range strings.Split(strings.TrimRight(usage, "\n"), "\n") {
		if i > 0 {
			r.macro("br")
		}
		rest, _ := strings.CutPrefix(strings.TrimSpace(line), name)
		r.bold(name, rest)
	}
}

func (p manPage) commands(r *roff) {
	subs := p.shown(p.command)
	if len(subs) == 0 {
		return
	}
	r.section("COMMANDS")
	for _, sub := range subs {
		r.macro("TP")
		r.reference(manName(sub), "")
		r.prose(sub.Short)
	}
}

// shown returns the commands below one that have a page.
func (manPage) shown(c *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(c.Commands()), func(sub *cobra.Command) bool { return sub.Hidden || sub.Name() == "help" })
}

func (p manPage) flags(r *roff, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	r.section(title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			value = " " + value
		}
		r.macro("TP")
		r.bold(name, value)
		r.prose(usage + defaultOf(f))
	})
}

// defaultOf says what a flag is if it is not set, unless that is nothing.
func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "false", "0", "0s", "[]":
		return ""
	}
	return " (default " + f.DefValue + ")"
}

func (manPage) exitStatus(r *roff) {
	r.section("EXIT STATUS")
	for _, status := range exitStatuses() {
		r.macro("TP")
		r.bold(status[0], "")
		r.prose(status[1])
	}
}

func (manPage) environment(r *roff) {
	about := maps.Clone(moreEnv)
	for flag, variable := range globalEnv {
		about[variable] = "as --" + flag + ", which comes first"
	}
	r.section("ENVIRONMENT")
	for _, variable := range slices.Sorted(maps.Keys(about)) {
		r.macro("TP")
		r.bold(variable, "")
		r.prose(about[variable])
	}
}

func (manPage) files(r *roff) {
	r.section("FILES")
	for _, file := range manFiles {
		r.macro("TP")
		r.bold(file[0], "")
		r.prose(file[1])
	}
}

// seeAlso leads to the command above and to those beside this one.
func (p manPage) seeAlso(r *roff) {
	parent := p.command.Parent()
	if parent == nil {
		return // its commands are listed above
	}
	pages := []*cobra.Command{parent}
	if parent.HasParent() {
		pages = append(pages, p.shown(parent)...)
	}
	pages = slices.DeleteFunc(pages, func(c *cobra.Command) bool { return c == p.command })
	r.section("SEE ALSO")
	for i, c := range pages {
		after := ","
		if i == len(pages)-1 {
			after = ""
		}
		r.reference(manName(c), after)
	}
}
