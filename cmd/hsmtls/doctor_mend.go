// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=][A-Za-z0-9_./:@%+,=-]*$`)

// mend is a command line of hsmtls: words of ours, and foreign ones that are
// quoted for a shell.
func mend(words ...string) string { return "hsmtls " + strings.Join(words, " ") }

// discard removes a certificate that no alias of ours leads to.
func (e *exam) discard(selection ...string) string {
	line := append([]string{
		"pkcs11-tool", "--module", word(e.info.Module), "--token-label", word(e.info.Label), "--login", "--delete-object", "--type", "cert",
	}, selection...)
	return strings.Join(line, " ")
}

// mends are several command lines.
func mends(lines ...string) string { return strings.Join(lines, "\n") }

// word quotes foreign text, which may come from a label that anybody has written,
// as one word of a shell that is nothing but text.
func word(s string) string {
	switch {
	case plainWord.MatchString(s):
		return s
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }):
		return ansiWord(s)
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ansiWord is $'...' of bash, zsh and POSIX.1-2024, in ASCII.
func ansiWord(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c > ' ' && c < 0x7f && c != '\'' && c != '\\' {
			b.WriteByte(c)
		} else {
			b.WriteString(`\` + strconv.FormatUint(uint64(c)+0o1000, 8)[1:])
		}
	}
	return "$'" + b.String() + "'"
}

// last is a foreign word that ends a command line and may begin with a dash.
func last(s string) string {
	if strings.HasPrefix(s, "-") {
		return "-- " + word(s)
	}
	return word(s)
}
