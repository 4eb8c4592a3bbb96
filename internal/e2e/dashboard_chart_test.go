// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A chart is a panel of lines over time. Its drawing is 1000 wide and 1000 high.
type chart struct {
	Lines        []line
	Values, When []tick
}

// A line is one series. Its area is filled down to zero or to the line below.
type line struct {
	Color      int // one of those there are
	Name       string
	Path, Area string
	Opacity    float64
	upper, low []float64
}

// A tick is a text beside an axis, at so many percent of it.
type tick struct {
	At   string
	Text string
}

const colors = 12

func newChart(t *testing.T, p panel, asked []answered, look *prometheus) *chart {
	t.Helper()
	f := p.FieldConfig.Defaults
	require.Equal(t, "line", f.Custom.DrawStyle, p.Title)
	c := &chart{When: timeTicks(p, look)}
	under := make([]float64, look.steps())
	for _, a := range asked {
		for _, s := range a.series {
			l := line{Color: len(c.Lines) % colors, Name: s.legend(a.LegendFormat), Opacity: f.Custom.FillOpacity / 100, upper: s.Values}
			switch f.Custom.Stacking.Mode {
			case "normal":
				l.low, l.upper = slices.Clone(under), stacked(under, s.Values)
			case "none":
				l.low = make([]float64, len(s.Values))
			default:
				require.Fail(t, "unknown stacking", "%s: %s", p.Title, f.Custom.Stacking.Mode)
			}
			c.Lines = append(c.Lines, l)
		}
	}
	c.scale(t, f)
	return c
}

// stacked puts values on top of those under them, which they are then among.
func stacked(under, values []float64) []float64 {
	upper := make([]float64, len(values))
	for i, v := range values {
		upper[i] = under[i] + v
		if !math.IsNaN(v) {
			under[i] = upper[i]
		}
	}
	return upper
}

// scale draws the lines as high as their values are.
func (c *chart) scale(t *testing.T, f field) {
	t.Helper()
	low, high := c.span(f)
	m := magnitudeOf(t, f.Unit, max(high, -low))
	unit := niceStep((high-low)/m.size) * m.size
	if f.Unit == "none" {
		unit = max(unit, 1) // they are counted
	}
	low, high = math.Floor(low/unit)*unit, math.Ceil(high/unit)*unit
	for v := low; v <= high+unit/2; v += unit {
		c.Values = append(c.Values, tick{percent((v - low) / (high - low)), number(math.Round(v/unit)*unit/m.size) + m.name})
	}
	for i := range c.Lines {
		c.Lines[i].draw(low, high)
	}
}

// span is from the smallest value to the largest.
func (c *chart) span(f field) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, l := range c.Lines {
		for _, v := range l.upper {
			if !math.IsNaN(v) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if f.Min != nil {
		low = *f.Min
	}
	if high <= low {
		high = low + 1
	}
	return low, high
}

// draw draws one piece for each stretch without gaps.
func (l *line) draw(low, high float64) {
	var path, area strings.Builder
	y := func(v float64) float64 { return 1000 * (1 - (min(max(v, low), high)-low)/(high-low)) }
	x := func(i int) float64 { return 1000 * float64(i) / float64(len(l.upper)-1) }
	for _, s := range stretches(l.upper) {
		for i := s.from; i < s.upTo; i++ {
			fmt.Fprintf(&path, "%s%.1f %.1f", pen(i == s.from), x(i), y(l.upper[i]))
			fmt.Fprintf(&area, "%s%.1f %.1f", pen(i == s.from), x(i), y(l.upper[i]))
		}
		for i := s.upTo - 1; i >= s.from; i-- {
			fmt.Fprintf(&area, "L%.1f %.1f", x(i), y(l.low[i]))
		}
		area.WriteByte('Z')
	}
	l.Path, l.Area = path.String(), area.String()
}

func pen(first bool) string {
	if first {
		return "M"
	}
	return "L"
}

// A stretch is from one index up to another.
type stretch struct{ from, upTo int }

// stretches are where there are values.
func stretches(values []float64) (all []stretch) {
	for i, v := range values {
		switch {
		case math.IsNaN(v):
		case len(all) > 0 && all[len(all)-1].upTo == i:
			all[len(all)-1].upTo = i + 1
		default:
			all = append(all, stretch{i, i + 1})
		}
	}
	return all
}

// timeTicks are as many as the panel has room for.
func timeTicks(p panel, look *prometheus) (all []tick) {
	every := 20 * time.Second
	if p.GridPos.W < 8 {
		every *= 2
	}
	whole := look.upTo.Sub(look.from)
	for at := look.from.Truncate(every).Add(every); at.Before(look.upTo); at = at.Add(every) {
		if share := at.Sub(look.from).Seconds() / whole.Seconds(); share > 0.06 && share < 0.9 {
			all = append(all, tick{percent(share), at.Format("15:04:05")})
		}
	}
	return all
}

func percent(share float64) string { return fmt.Sprintf("%.2f", 100*share) }
