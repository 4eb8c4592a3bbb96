// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// query finds a metric of ours in PromQL, with its selectors.
var query = regexp.MustCompile(`(hsmtls_\w+)(?:\{([^}]*)\})?`)

// requireKnown holds a query to metrics and labels that exist.
func requireKnown(t *testing.T, expr string) {
	t.Helper()
	found := query.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		require.Regexp(t, `\b(go|process)_\w+\{`, expr)
	}
	for _, f := range found {
		m, ok := known(f[1])
		require.True(t, ok, "%s is not exported: %s", f[1], expr)
		for _, selector := range strings.Split(f[2], ",") {
			name, _, ok := strings.Cut(strings.TrimSpace(selector), "=")
			if name = strings.TrimRight(name, "!"); ok && name != "job" && name != "instance" {
				require.Contains(t, m.labels, name, expr)
			}
		}
	}
}

func known(name string) (metric, bool) {
	for _, m := range metricTable {
		series := []string{m.name}
		if m.kind == histogram {
			series = []string{m.name + "_bucket", m.name + "_sum", m.name + "_count"}
		}
		if slices.Contains(series, name) {
			return m, true
		}
	}
	return metric{}, false
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "dist", "grafana", "hsmtls.json"))
	require.NoError(t, err)
	var board struct {
		Title  string `json:"title"`
		UID    string `json:"uid"`
		Panels []struct {
			Title   string `json:"title"`
			Type    string `json:"type"`
			GridPos struct{ X, Y, W, H int }
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	require.NoError(t, json.Unmarshal(text, &board))
	require.NotEmpty(t, board.Title)
	require.NotEmpty(t, board.UID)
	require.NotEmpty(t, board.Panels)
	for _, p := range board.Panels {
		require.NotEmpty(t, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			requireKnown(t, target.Expr)
		}
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "dist", "prometheus", "hsmtls.rules.yml"))
	require.NoError(t, err)
	require.YAMLEq(t, string(text), string(text), "it is YAML")
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	exprs := regexp.MustCompile(`(?m)^ +expr: (.+)$`).FindAllStringSubmatch(string(text), -1)
	alerts := regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, alerts)
	require.Len(t, exprs, len(alerts))
	for i, e := range exprs {
		if alerts[i][1] != "HsmtlsDown" { // which is about not being scraped
			requireKnown(t, e[1])
		}
		require.Contains(t, string(page), "`"+alerts[i][1]+"`")
	}
}
