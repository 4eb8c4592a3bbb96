// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// The levels of a finding. The last two end in exit status 1.
const (
	levelOK      = "ok"
	levelNote    = "note"
	levelWarning = "warning"
	levelError   = "error"
)

// A finding is what a check says. JSON has these fields.
type finding struct {
	Check   string `json:"check"`
	Level   string `json:"level"` // ok, note, warning, error
	Subject string `json:"subject"`
	Text    string `json:"text"`
	Why     string `json:"why"`  // it matters; empty if that is plain
	Mend    string `json:"mend"` // commands, one a line; empty if there is nothing to mend
}

// errUnwell is for an examination that has found something.
var errUnwell = errors.New("not all is well")

func (a *app) doctorCommand() *cobra.Command {
	var expected []string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "examine module, token, keys, certificates and trust, and say what mends them",
		Long: `doctor makes these checks, and goes on after a finding where it can:

` + checksHelp() + `
It logs in once, as every command does, and not at all if that would be the last try of
the PIN. It makes a test signature with each key that has a certificate, and handshakes
with itself over loopback. It changes nothing on the token.

A finding says what is found and, if it is not ok, why that matters and which commands
mend it. These need the flags by which doctor was told the token and the roots, if they
are not in the environment. Words in capitals are for you to fill in.

The exit status is 0 if nothing is worse than a note, and 1 after a warning or an error.

JSON: an array of check, level (ok, note, warning, error), subject, text, why, mend.`,
		Example:           "  hsmtls doctor\n  hsmtls doctor --json --token-anchors",
		Args:              takes(),
		ValidArgsFunction: completes(),
		RunE:              a.does(func(ctx context.Context, _ []string) error { return a.doctor(ctx, expected) }),
	}
	c.Flags().StringArrayVar(&expected, "expect-anchor", nil, "`SHA256` of a root that has to be on the token; may be repeated")
	return c
}

// checksHelp lists the checks.
func checksHelp() string {
	var b strings.Builder
	for _, c := range checks {
		fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.about)
	}
	return b.String()
}

func (a *app) doctor(ctx context.Context, expected []string) error {
	e := &exam{app: a, now: time.Now()}
	for _, digits := range expected {
		fingerprint, err := parseFingerprint(digits)
		if err != nil {
			return &usageError{err}
		}
		e.expected = append(e.expected, fingerprint)
	}
	if _, err := a.crlPolicy(); err != nil {
		return err
	}
	var err error
	if e.cfg, err = a.config(); err != nil {
		return err
	}
	defer e.close()
	findings := e.examine(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := a.show(findings, func(w io.Writer) { printFindings(w, findings) }); err != nil {
		return err
	}
	return diagnosis(findings)
}

// examine makes all the checks.
func (e *exam) examine(ctx context.Context) []finding {
	findings := []finding{}
	for _, c := range checks {
		found := e.skipped(c.needs)
		if found == nil {
			found = c.run(ctx, e)
		}
		for _, f := range found {
			f.Check = c.name
			findings = append(findings, f)
		}
	}
	return findings
}

// diagnosis is an error if a finding is worse than a note.
func diagnosis(findings []finding) error {
	n := map[string]int{}
	for _, f := range findings {
		n[f.Level]++
	}
	if n[levelWarning]+n[levelError] == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s, %s", errUnwell,
		count(n[levelError], "error", "errors"), count(n[levelWarning], "warning", "warnings"))
}

// reason is an error as a sentence about a subject that is named already.
func reason(err error) string {
	var keys *keystore.Error
	var trust *truststore.Error
	switch {
	case errors.As(err, &keys) && keys.Alias != "":
		err = keys.Err
	case errors.As(err, &trust) && trust.Alias != "":
		err = trust.Err
	}
	return sentence(err)
}

func printFindings(w io.Writer, findings []finding) {
	for _, f := range findings {
		about := clean(f.Text)
		if f.Subject != "" {
			about = cell(f.Subject) + ": " + about
		}
		fmt.Fprintf(w, "%-8s %-10s %s\n", f.Level, f.Check, about)
		if f.Why != "" {
			fmt.Fprintf(w, "%19s why:  %s\n", "", clean(f.Why))
		}
		if f.Mend == "" {
			continue
		}
		for _, command := range strings.Split(f.Mend, "\n") {
			fmt.Fprintf(w, "%19s mend: %s\n", "", clean(command))
		}
	}
}
