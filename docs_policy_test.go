// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtlsgo_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

const policyPage = "docs/tls-policy.md"

var (
	testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)\(`)
)

// TestPolicyPageNamesTests holds that each test the page relies on exists.
func TestPolicyPageNamesTests(t *testing.T) {
	t.Parallel()
	exists := make(map[string]bool)
	for _, path := range files(t) {
		if !strings.HasSuffix(filepath.Base(path), "_test.go") {
			continue
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(read(t, path)), -1) {
			exists[m[1]] = true
		}
	}
	named := testName.FindAllStringSubmatch(string(read(t, policyPage)), -1)
	require.NotEmpty(t, named)
	for _, m := range named {
		if !exists[m[1]] {
			t.Errorf("%s names %s, which does not exist", policyPage, m[1])
		}
	}
}

// TestPolicyPageHasEveryRule holds that each rule has a row that says which
// tests hold it, by the name it prints.
func TestPolicyPageHasEveryRule(t *testing.T) {
	t.Parallel()
	rows := make(map[string]string)
	for line := range strings.Lines(string(read(t, policyPage))) {
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, "| **"), "** |"); ok && strings.HasPrefix(line, "| **") {
			rows[name] = rest
		}
	}
	n := 0
	for r := hsmtls.Rule(1); r.Source() != ""; r++ {
		n++
		row, ok := rows[r.String()]
		if !ok || !testName.MatchString(row) {
			t.Errorf("%s has no row for %q that names a test", policyPage, r)
		}
	}
	require.Equal(t, n, len(rows), "a row is about a rule that does not exist")
}
