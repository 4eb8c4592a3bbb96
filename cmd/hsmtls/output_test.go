// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/keystore"
)

// hostile is what a planted certificate may have in its names: colours, a C1
// control, a line break, a change of direction, and half a character.
const hostile = "a\x1b[31mb\u009bc\nd\u202ee\xff\U000E0001"

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func TestForeignTextCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	require.True(t, printable(clean(hostile)), "clean: %q", clean(hostile))
	require.True(t, printable(cell(hostile)), "cell: %q", cell(hostile))
	require.True(t, printable(sentence(errors.New(hostile))))

	var out, errs bytes.Buffer
	a := &app{stdout: &out, stderr: &errs}
	require.NoError(t, a.showJSON(map[string]string{"x": hostile}))
	require.True(t, printable(strings.ReplaceAll(out.String(), "\n", "")), "%q", out.String())
	var back map[string]string
	require.NoError(t, json.Unmarshal(out.Bytes(), &back))
	require.Equal(t, strings.ToValidUTF8(hostile, "\ufffd"), back["x"])

	a.complain(errors.New(hostile), "")
	a.warn("%s", hostile)
	require.Equal(t, 2, strings.Count(errs.String(), "\n"))
	require.True(t, printable(strings.ReplaceAll(errs.String(), "\n", "")))
}

func TestCell(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":         "-",
		"terminal": "terminal",
		"a b":      "a b",
		"Zürich":   "Zürich",
		" a":       `" a"`,
		"a\tb":     `"a\tb"`,
	} {
		require.Equal(t, want, cell(in), "cell(%q)", in)
	}
}

func TestSentence(t *testing.T) {
	t.Parallel()
	err := &keystore.Error{Op: "inject", Alias: "x", Err: keystore.ErrExists}
	require.Equal(t, `inject "x": alias is taken`, sentence(err))
	require.Equal(t, "interrupted", sentence(fmt.Errorf("dial: %w", context.Canceled)))
	require.Equal(t, "a; b", sentence(errors.Join(errors.New("a"), errors.New("b"))))
}

func TestTableAndFields(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	table(&b, "A|LONG", [][]string{{"first", "x"}, {"y", "second"}})
	fields(&b, "one", "1", "none", "", "three", "3")
	require.Equal(t, "A      LONG\nfirst  x\ny      second\none:    1\nthree:  3\n", b.String())
}

func TestLoggerPrintsOneLine(t *testing.T) {
	t.Parallel()
	var errs bytes.Buffer
	a := &app{stderr: &errs}
	a.logger().With("token", "t").WithGroup("g").Warn("hsm: something", "why", errors.New("a\nb"))
	a.logger().Debug("not for people")
	require.Equal(t, "hsmtls: warning: something, token t, why a; b\n", errs.String())
}
