// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A board is what is looked at of a dashboard's file.
type board struct {
	Title      string
	Templating struct {
		List []struct {
			Name, Type, AllValue string
			IncludeAll           bool
		}
	}
	Panels []panel
}

type panel struct {
	Type, Title string
	GridPos     place
	Targets     []query
	FieldConfig struct {
		Defaults  field
		Overrides []struct {
			Matcher    struct{ ID, Options string }
			Properties []struct {
				ID    string
				Value json.RawMessage
			}
		}
	}
	Transformations []struct {
		ID      string
		Options organized
	}
}

// A place is in a grid of 24 columns.
type place struct{ X, Y, W, H int }

// Column and Line count from 1.
func (p place) Column() int { return p.X + 1 }
func (p place) Line() int   { return p.Y + 1 }

type query struct {
	Expr, LegendFormat string
	Instant            bool
}

// A field is how values are shown.
type field struct {
	Unit       string
	Decimals   *int
	Min        *float64
	NoValue    string
	Thresholds thresholds
	Mappings   []struct {
		Type    string
		Options map[string]struct{ Color string }
	}
	Custom struct {
		DrawStyle   string
		FillOpacity float64
		Stacking    struct{ Mode string }
	}
}

// thresholds have the colour of the last step that a value reaches. The first is for all.
type thresholds struct {
	Steps []struct {
		Color string
		Value *float64
	}
}

func (h thresholds) color(v float64) (color string) {
	for _, s := range h.Steps {
		if s.Value == nil || v >= *s.Value {
			color = s.Color
		}
	}
	return color
}

// organized is a transformation of a table's columns.
type organized struct {
	ExcludeByName map[string]bool
	RenameByName  map[string]string
	IndexByName   map[string]int
}

// columns are those of a table, in their order, by the name they have in the answer.
func (o organized) columns(s []series) []string {
	all := map[string]bool{"Value": true}
	for _, one := range s {
		for label := range one.Labels {
			all[label] = true
		}
	}
	maps.DeleteFunc(all, func(name string, _ bool) bool { return o.ExcludeByName[name] })
	place := func(name string) int {
		if i, ok := o.IndexByName[name]; ok {
			return i
		}
		return math.MaxInt
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		if place(a) != place(b) {
			return place(a) - place(b)
		}
		return strings.Compare(a, b)
	})
}

// readBoard reads a dashboard, with what Grafana would put in place of its variables:
// all jobs and all instances.
func readBoard(t *testing.T, path string) *board {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	b := new(board)
	require.NoError(t, json.Unmarshal(text, b))
	values := []string{"$__rate_interval", rateTime.String()}
	for _, v := range b.Templating.List {
		if v.Type == "query" {
			require.True(t, v.IncludeAll, v.Name)
			values = append(values, "$"+v.Name, v.AllValue)
		}
	}
	for _, p := range b.Panels {
		for i := range p.Targets {
			p.Targets[i].Expr = strings.NewReplacer(values...).Replace(p.Targets[i].Expr)
			require.NotContains(t, strings.ReplaceAll(p.Targets[i].Expr, `$"`, ""), "$", "%s: a variable without a value", p.Title)
		}
	}
	require.NotEmpty(t, b.Panels)
	return b
}

// override is how a column is shown.
func (p panel) override(t *testing.T, column string) field {
	t.Helper()
	f := p.FieldConfig.Defaults
	for _, o := range p.FieldConfig.Overrides {
		require.Equal(t, "byName", o.Matcher.ID, p.Title)
		if o.Matcher.Options != column {
			continue
		}
		for _, property := range o.Properties {
			to := map[string]any{"unit": &f.Unit, "decimals": &f.Decimals, "thresholds": &f.Thresholds, "custom.cellOptions": new(any)}[property.ID]
			require.NotNil(t, to, "%s: property %s", p.Title, property.ID)
			require.NoError(t, json.Unmarshal(property.Value, to))
		}
	}
	return f
}
