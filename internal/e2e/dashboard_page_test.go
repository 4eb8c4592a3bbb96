// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"bytes"
	_ "embed"
	"html/template"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A drawn is a panel as it is drawn. Which of the others it has is its Type.
type drawn struct {
	panel
	Stat   cell
	Chart  *chart
	States []states
	When   []tick // of States
	Head   []string
	Rows   [][]cell
}

// A cell is a text, in a colour of the file's or in none.
type cell struct{ Text, Color string }

// States are when something was so.
type states struct {
	Name, Color string
	Opacity     float64
	Bars        []bar
}

// A bar begins and is so long, in percent.
type bar struct{ From, Long string }

// An answered is a query with its answer.
type answered struct {
	query
	series []series
}

//go:embed testdata/dashboard.html
var dashboardPage string

// page is the dashboard as a page that needs nothing else.
func (b *board) page(t *testing.T, p *prometheus) []byte {
	t.Helper()
	shown := struct {
		Title      string
		From, UpTo time.Time
		Panels     []drawn
	}{Title: b.Title, From: p.from, UpTo: p.upTo}
	for _, one := range b.Panels {
		shown.Panels = append(shown.Panels, one.draw(t, p))
	}
	var out bytes.Buffer
	require.NoError(t, template.Must(template.New("page").Parse(dashboardPage)).Execute(&out, shown))
	return out.Bytes()
}

func (p panel) draw(t *testing.T, look *prometheus) drawn {
	t.Helper()
	v := drawn{panel: p}
	asked := p.ask(t, look)
	require.Empty(t, p.misses(asked), p.Title)
	switch p.Type {
	case "row":
	case "stat":
		n := asked[0].series[0].Values[0]
		v.Stat = cell{p.FieldConfig.Defaults.say(t, n), p.FieldConfig.Defaults.Thresholds.color(n)}
	case "timeseries":
		v.Chart = newChart(t, p, asked, look)
	case "state-timeline":
		v.States, v.When = p.states(asked[0]), timeTicks(p, look)
	case "table":
		v.Head, v.Rows = p.table(t, asked[0].series)
	default:
		require.Fail(t, "no way to draw it", "%s: %s", p.Title, p.Type)
	}
	return v
}

// ask asks what the panel asks.
func (p panel) ask(t *testing.T, look *prometheus) (all []answered) {
	t.Helper()
	for _, q := range p.Targets {
		all = append(all, answered{q, look.look(t, q)})
	}
	return all
}

// misses says what the panel has no answer to, or nothing.
func (p panel) misses(all []answered) string {
	var seen []float64
	for _, a := range all {
		numbers := slices.DeleteFunc(a.values(), math.IsNaN)
		if len(numbers) == 0 {
			return "no data: " + a.Expr
		}
		seen = append(seen, numbers...)
	}
	if p.Type == "timeseries" && !slices.ContainsFunc(seen, func(v float64) bool { return v != 0 }) {
		return "nothing but zero"
	}
	return ""
}

func (a answered) values() (all []float64) {
	for _, s := range a.series {
		all = append(all, s.Values...)
	}
	return all
}

// states is a row for each series, with bars where it has a value.
func (p panel) states(a answered) (all []states) {
	f := p.FieldConfig.Defaults
	for _, s := range a.series {
		one := states{Name: s.legend(a.LegendFormat), Color: f.Mappings[0].Options["1"].Color, Opacity: f.Custom.FillOpacity / 100}
		n := float64(len(s.Values))
		for _, g := range stretches(s.Values) {
			one.Bars = append(one.Bars, bar{percent(float64(g.from) / n), percent(float64(g.upTo-g.from) / n)})
		}
		all = append(all, one)
	}
	return all
}

func (p panel) table(t *testing.T, all []series) (head []string, rows [][]cell) {
	t.Helper()
	require.Len(t, p.Transformations, 1, p.Title)
	require.Equal(t, "organize", p.Transformations[0].ID, p.Title)
	o := p.Transformations[0].Options
	columns := o.columns(all)
	for _, s := range all {
		var row []cell
		for _, c := range columns {
			one := cell{Text: s.Labels[c]}
			if c == "Value" {
				f := p.override(t, o.RenameByName[c])
				one = cell{f.say(t, s.Values[0]), f.Thresholds.color(s.Values[0])}
			}
			row = append(row, one)
		}
		rows = append(rows, row)
	}
	for _, c := range columns {
		if to := o.RenameByName[c]; to != "" {
			c = to
		}
		head = append(head, c)
	}
	return head, rows
}
