// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"fmt"
	"strings"
)

// A roff is text in the making, in the language of man(7). What goes in is
// plain: nothing in it is taken for a command or an escape.
type roff struct{ strings.Builder }

// roffEscapes keep characters what they are: roff sets a hyphen for the minus
// of an option, and typographic quotes for those of a shell.
var roffEscapes = strings.NewReplacer(`\`, `\(rs`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`)

// escape returns text that roff sets as it is. At the start of a line a full
// stop would make a command of it.
func escape(s string) string {
	s = roffEscapes.Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	var b strings.Builder
	for _, c := range s {
		if c < 0x80 {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, c)
		}
	}
	return b.String()
}

// macro is a line that is a command.
func (r *roff) macro(name string, args ...string) {
	r.WriteString("." + name)
	for _, arg := range args {
		r.WriteString(` "` + escape(arg) + `"`)
	}
	r.WriteString("\n")
}

// title is the first line of a page. A date is not escaped: mandoc would not take
// it for one.
func (r *roff) title(name, date, source string) {
	fmt.Fprintf(r, ".TH \"%s\" \"1\" \"%s\" \"%s\" \"hsmtls\"\n", escape(name), date, escape(source))
}

func (r *roff) section(title string) { r.macro("SH", title) }

// prose is a paragraph, which is filled.
func (r *roff) prose(s string) {
	for line := range strings.Lines(s) {
		r.WriteString(escape(strings.TrimSpace(line)) + "\n")
	}
}

// bold is a line whose first part is bold.
func (r *roff) bold(s, rest string) {
	r.WriteString(`\fB` + strings.TrimPrefix(escape(s), `\&`) + `\fR` + roffEscapes.Replace(rest) + "\n")
}

// reference is the name of another page.
func (r *roff) reference(page, after string) { r.bold(page, "(1)"+after) }

// verbatim are lines that are kept.
func (r *roff) verbatim(lines []string) {
	r.macro("RS", "4")
	r.macro("nf")
	for _, line := range lines {
		r.WriteString(escape(strings.TrimRight(strings.TrimPrefix(line, "  "), " ")) + "\n")
	}
	r.macro("fi")
	r.macro("RE")
}

// text is the description of a command: paragraphs, with blank lines between
// them, and in some of them lines that are kept because they are indented.
func (r *roff) text(s string) {
	for i, paragraph := range strings.Split(strings.Trim(s, "\n"), "\n\n") {
		if i > 0 {
			r.macro("PP")
		}
		r.paragraph(strings.Split(strings.Trim(paragraph, "\n"), "\n"))
	}
}

func (r *roff) paragraph(lines []string) {
	for len(lines) > 0 {
		n := 1
		kept := indented(lines[0])
		for n < len(lines) && indented(lines[n]) == kept {
			n++
		}
		if kept {
			r.verbatim(lines[:n])
		} else {
			r.prose(strings.Join(lines[:n], "\n"))
		}
		lines = lines[n:]
	}
}

func indented(line string) bool { return strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") }
