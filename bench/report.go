// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// method is how RESULTS.md explains the numbers.
//
//go:embed METHOD.md
var method string

// page is RESULTS.md. Folder holds the parts written by hand.
func (r *results) page(folder string) (string, error) {
	var w strings.Builder
	w.WriteString("# Results\n\nThis page is written by `make bench`; what is on it by hand comes from NOTES.md, ESTATE.md and FAILURES.md.\n\n")
	w.WriteString(r.Head.text())
	w.WriteString("![Bars: signatures, handshakes and start of this module and its peers](../docs/images/bench.svg)\n\n")
	w.WriteString("## Goals\n\n" + r.goals())
	for _, part := range []struct{ heading, file string }{
		{"What the remaining distance is made of", "NOTES.md"},
		{"An estate loses its power", "ESTATE.md"},
		{"When the token fails", "FAILURES.md"},
	} {
		text, err := os.ReadFile(filepath.Join(folder, part.file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&w, "## %s\n\n%s\n\n", part.heading, strings.TrimSpace(string(text)))
	}
	w.WriteString("## Method\n\n" + strings.TrimSpace(method) + "\n\n")
	w.WriteString("## Tables\n\n" + r.tables())
	return strings.TrimSpace(w.String()) + "\n", nil
}

func (h head) text() string {
	var w strings.Builder
	fmt.Fprintf(&w, "Measured on %s in %s on %s.\n\n", h.Date, h.Took, h.Machine)
	if h.Quick {
		w.WriteString("**This was a quick run (`make bench QUICK=1`)**: few short rounds, good for seeing that everything works and not for comparing.\n\n")
	}
	w.WriteString("With " + strings.Join(h.Versions, "; ") + ".\n\n")
	for _, p := range h.Peers {
		w.WriteString("Missing peer " + p + "\n\n")
	}
	return w.String()
}

// tables are all experiments in the order in which they were made.
func (r *results) tables() string {
	var w strings.Builder
	for _, e := range plan(options{}) {
		var cells []cell
		for _, c := range r.Cells {
			if c.Experiment == e.name {
				cells = append(cells, c)
			}
		}
		if len(cells) == 0 {
			continue
		}
		fmt.Fprintf(&w, "### %s\n\n", e.title)
		for _, workers := range e.workers {
			if len(e.workers) > 1 || workers > 1 {
				fmt.Fprintf(&w, "%d at a time:\n\n", workers)
			}
			w.WriteString(r.table(e, cells, workers) + "\n")
		}
	}
	return w.String()
}

func (r *results) table(e experiment, cells []cell, workers int) string {
	var w strings.Builder
	columns := "| | per second | min–max | to us | CPU each | p50 | p99 | memory | threads | C_ calls |\n"
	if e.times {
		columns = "| | median | min–max | to us | CPU each | memory | threads | C_ calls |\n"
	}
	w.WriteString(columns + "|---" + strings.Repeat("|--:", strings.Count(columns, "|")-2) + "|\n")
	ours := r.find(e.name, us, workers)
	var notes []string
	for i := range cells {
		c := &cells[i]
		if c.Workers != workers {
			continue
		}
		if c.Missing != "" {
			notes = append(notes, fmt.Sprintf("%s was not measured: %s", c.Contender, c.Missing))
			continue
		}
		if len(c.Samples) == 0 { // it has no business here
			continue
		}
		w.WriteString(c.row(e, ours))
		if n, first := c.failed(); n > 0 {
			notes = append(notes, fmt.Sprintf("%s: %d operations failed, the first with %q", c.Contender, n, first))
		}
	}
	for _, n := range notes {
		w.WriteString("\n" + n + ".\n")
	}
	return w.String()
}

func (c *cell) row(e experiment, ours *cell) string {
	value, ratio := c.rate(), "–"
	show := func(v float64) string { return number(v) }
	if e.times {
		value = c.p50()
		show = duration
	}
	if ours != nil {
		ratio = fmt.Sprintf("%.2f", value.median/ours.value(e).median)
	}
	name := c.Contender
	if name == us {
		name = "**" + us + "**"
	}
	cols := []string{name, show(value.median), show(value.least) + "–" + show(value.most), ratio, duration(c.cpu())}
	if !e.times {
		cols = append(cols, duration(c.p50().median), duration(c.p99().median))
	}
	return "| " + strings.Join(append(cols, mib(c.Memory), dash(float64(c.Threads)), calls(c.Calls)), " | ") + " |\n"
}

// value is what an experiment is about.
func (c *cell) value(e experiment) spread {
	if e.times {
		return c.p50()
	}
	return c.rate()
}

// number prints three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func dash(v float64) string {
	if v <= 0 {
		return "–"
	}
	return number(v)
}

// duration prints nanoseconds.
func duration(ns float64) string {
	switch {
	case ns <= 0:
		return "–"
	case ns < float64(time.Millisecond):
		return number(ns/1e3) + " µs"
	case ns < float64(time.Second):
		return number(ns/1e6) + " ms"
	default:
		return number(ns/1e9) + " s"
	}
}

func mib(kib int) string {
	if kib == 0 {
		return "–"
	}
	return number(float64(kib)/1024) + " MB"
}

func calls(n float64) string {
	if n < 0 {
		return "–"
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", n), ".0")
}
