// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A magnitude is what numbers of a size are counted in.
type magnitude struct {
	size float64
	name string
}

// magnitudes are those of Grafana's units, from small to large.
var magnitudes = map[string][]magnitude{
	"none":        {{1, ""}},
	"ops":         {{1, " ops/s"}},
	"percentunit": {{0.01, " %"}},
	"bytes":       {{1, " B"}, {1 << 10, " KiB"}, {1 << 20, " MiB"}, {1 << 30, " GiB"}},
	"Bps":         {{1, " B/s"}, {1e3, " kB/s"}, {1e6, " MB/s"}, {1e9, " GB/s"}},
	"s": {
		{1e-6, " µs"}, {1e-3, " ms"}, {1, " s"}, {60, " min"}, {3600, " hours"},
		{86400, " days"}, {7 * 86400, " weeks"}, {365 * 86400, " years"},
	},
}

// magnitudeOf is what v is counted in.
func magnitudeOf(t *testing.T, unit string, v float64) magnitude {
	t.Helper()
	all := magnitudes[unit]
	require.NotEmpty(t, all, "unit %q", unit)
	m := all[0]
	for _, larger := range all[1:] {
		if math.Abs(v) >= larger.size {
			m = larger
		}
	}
	return m
}

// say is a value in the unit of the field.
func (f field) say(t *testing.T, v float64) string {
	t.Helper()
	m := magnitudeOf(t, f.Unit, v)
	text := number(v / m.size)
	if f.Decimals != nil {
		text = strconv.FormatFloat(v/m.size, 'f', *f.Decimals, 64)
	}
	if text == "1" && f.Unit == "s" && m.size >= 3600 {
		return text + strings.TrimSuffix(m.name, "s")
	}
	return text + m.name
}

// number leaves out what nobody needs to know.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// niceStep is the length of a step of which there are about four in a span.
func niceStep(span float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(span/4)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*power*4.5 >= span {
			return m * power
		}
	}
	return 10 * power
}
