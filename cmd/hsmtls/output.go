// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
)

// The rules of what is printed: results go to standard output, everything else
// to standard error with "hsmtls: " before it, without capitals and full stops.
// What comes from certificates, labels and peers never steers the terminal.

// show prints a result: v with --json, else the text.
func (a *app) show(v any, text func(io.Writer)) error {
	if a.globals.json {
		return a.showJSON(v)
	}
	var b bytes.Buffer
	text(&b)
	_, err := a.stdout.Write(b.Bytes())
	return err
}

// did prints what has been done.
func (a *app) did(v any, format string, args ...any) error {
	return a.show(v, func(w io.Writer) { fmt.Fprintf(w, format+"\n", args...) })
}

func (a *app) showJSON(v any) error { return a.encode(v, "  ") }

// showLine prints an object that is one of many.
func (a *app) showLine(v any) error { return a.encode(v, "") }

func (a *app) encode(v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(a.stdout, escapeJSON(b.String()))
	return err
}

// escapeJSON escapes what package json leaves as it is and a terminal may not.
func escapeJSON(s string) string {
	return mapUnprintable(s, func(r rune) string {
		if r1, r2 := utf16.EncodeRune(r); r1 != unicode.ReplacementChar {
			return fmt.Sprintf(`\u%04x\u%04x`, r1, r2)
		}
		return fmt.Sprintf(`\u%04x`, r)
	})
}

// clean makes foreign text fit for a line.
func clean(s string) string {
	return mapUnprintable(strings.ReplaceAll(s, "\n", "; "), func(r rune) string {
		return strings.Trim(strconv.QuoteRune(r), "'")
	})
}

func mapUnprintable(s string, escape func(rune) string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
		} else {
			b.WriteString(escape(r))
		}
	}
	return b.String()
}

// cell makes foreign text fit for a table: what cannot be read as it is is
// quoted, and nothing is shown as a dash.
func cell(s string) string {
	switch {
	case s == "":
		return "-"
	case strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return strconv.Quote(s)
	}
	return s
}

// table prints rows under a header.
func table(w io.Writer, header string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(header, "|", "\t"))
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // a buffer does not fail
}

// fields prints names and values, one pair a line; it leaves out empty values.
func fields(w io.Writer, pairs ...string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(t, "%s:\t%s\n", pairs[i], pairs[i+1])
		}
	}
	_ = t.Flush()
}

// date is how a table shows a point in time.
func date(t time.Time) string { return t.UTC().Format("2006-01-02") }

// writeOut writes a result that is a file to a path, or to standard output.
func (a *app) writeOut(path string, data []byte) error {
	if path == "" || path == "-" {
		_, err := a.stdout.Write(data)
		return err
	}
	return replaceFile(path, data)
}

// complain prints an error and a hint that may be empty.
func (a *app) complain(err error, hint string) {
	fmt.Fprintf(a.stderr, "hsmtls: %s\n", sentence(err))
	if hint != "" {
		fmt.Fprintf(a.stderr, "hsmtls: hint: %s\n", hint)
	}
}

// warn prints something that does not stop the command.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.stderr, "hsmtls: warning: %s\n", clean(fmt.Sprintf(format, args...)))
}

// sentence is an error as a line, without the package that met it first.
func sentence(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	s := err.Error()
	for _, prefix := range []string{"hsm: ", "keystore: ", "truststore: ", "hsmtls: ", "pairing: ", "est: ", "tunnel: "} {
		s = strings.TrimPrefix(s, prefix)
	}
	return clean(s)
}

// logger passes the warnings of the packages on.
func (a *app) logger() *slog.Logger { return slog.New(&logHandler{app: a}) }

// A logHandler prints records as lines, each with one write.
type logHandler struct {
	app   *app
	attrs []slog.Attr
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	line := strings.TrimPrefix(strings.TrimPrefix(r.Message, "hsm: "), "hsmtls: ")
	add := func(attr slog.Attr) bool {
		line += fmt.Sprintf(", %s %v", attr.Key, attr.Value)
		return true
	}
	for _, attr := range h.attrs {
		add(attr)
	}
	r.Attrs(add)
	h.app.warn("%s", line)
	return nil
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{app: h.app, attrs: append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h *logHandler) WithGroup(string) slog.Handler { return h }
