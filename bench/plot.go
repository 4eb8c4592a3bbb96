// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"fmt"
	"html"
	"strings"
)

// A panel is one group of bars.
type panel struct {
	title, experiment string
	workers           int
	contenders        []string
	show              func(float64) string
	value             func(*cell) float64
}

func rateOf(c *cell) float64 { return c.rate().median }
func timeOf(c *cell) float64 { return c.p50().median }
func tailOf(c *cell) float64 { return c.p99().median }

// panels are what the plot shows.
var panels = []panel{
	{"Signatures per second, RSA-2048, 8 at a time", "sign-pkcs1", 8, everySigner, number, rateOf},
	{"Slowest signature in a hundred, 64 at a time (less is better)", "sign-pkcs1", 64, everySigner, duration, tailOf},
	{"Full mutual handshakes per second as client, 8 at a time", "client", 8, everyClient, number, rateOf},
	{"Full mutual handshakes per second as server, 8 at a time", "server", 8, everyServer, number, rateOf},
	{"CPU for one handshake as client, 8 at a time (less is better)", "client", 8, everyClient, duration, (*cell).cpu},
	{"Process start to first handshake (less is better)", "start-1", 1, everyClient, duration, timeOf},
}

const (
	plotWidth = 760
	barHeight = 20
	barLeft   = 150
	barRight  = 640
)

// style has colours for a light page and for a dark one.
const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.bar { fill: #8c959f }
.us { fill: #0969da }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.bar { fill: #6e7681 }
.us { fill: #4493f8 }
}
</style>
`

// plot is the SVG.
func (r *results) plot() string {
	var w strings.Builder
	y := 10
	for _, p := range panels {
		y = r.panel(&w, p, y)
	}
	return fmt.Sprintf("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"hsmtls and its peers\">\n%s%s</svg>\n",
		plotWidth, y, style, w.String())
}

// panel writes a panel from y on and returns where the next one begins. One
// without bars is left out.
func (r *results) panel(w *strings.Builder, p panel, y int) int {
	var cells []*cell
	longest := 0.0
	for _, name := range p.contenders {
		if c := r.find(p.experiment, name, p.workers); c != nil && p.value(c) > 0 {
			cells = append(cells, c)
			longest = max(longest, p.value(c))
		}
	}
	if len(cells) == 0 {
		return y
	}
	y += barHeight
	fmt.Fprintf(w, "<text class=\"title\" x=\"10\" y=\"%d\">%s</text>\n", y, html.EscapeString(p.title))
	y += 8
	for _, c := range cells {
		class, length := "bar", p.value(c)/longest*(barRight-barLeft)
		if c.Contender == us {
			class = "us"
		}
		fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>", barLeft-8, y+14, html.EscapeString(c.Contender))
		fmt.Fprintf(w, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>", class, barLeft, y+2, max(length, 1), barHeight-5)
		fmt.Fprintf(w, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", barLeft+length+6, y+14, p.show(p.value(c)))
		y += barHeight
	}
	return y + 12
}
