// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// us is the contender that everybody is compared with.
const us = "hsmtls"

// A sample is one contender in one round. Times are in nanoseconds.
type sample struct {
	Count, Failed int64  // operations
	NS            int64  // the round
	P50, P99, Max int64  // of one operation
	CPU           int64  // of the contender's processes
	Resumed       int64  // handshakes that resumed a session
	Mallocs, Heap int64  // Go only: allocations per operation, bytes after a collection
	Error         string `json:",omitempty"` // of the first operation that failed
}

// A cell is one contender in one experiment with so many workers.
type cell struct {
	Experiment, Contender string
	Workers               int
	Missing               string `json:",omitempty"` // why there is no measurement
	Samples               []sample
	Memory                int     // most KiB resident
	Threads               int     // most of them
	Calls                 float64 // of the PKCS#11 module per operation; negative: not counted
}

// head says where and with what was measured.
type head struct {
	Date, Machine, Took string
	Quick               bool
	Versions            []string
	Peers               []string // one line each: what was tried to install, and is missing
}

type results struct {
	Head  head
	Cells []cell
}

func readResults(path string) (*results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(results)
	return r, json.Unmarshal(text, r)
}

func (r *results) save(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// complete reports the experiments in which this module was not measured.
func (r *results) complete() error {
	var problems []error
	for _, c := range r.Cells {
		if c.Contender == us && c.Missing != "" {
			problems = append(problems, fmt.Errorf("%s with %d workers was not measured: %s", c.Experiment, c.Workers, c.Missing))
		}
	}
	return errors.Join(problems...)
}

// find returns a cell that was measured, or nil.
func (r *results) find(experiment, contender string, workers int) *cell {
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Experiment == experiment && c.Contender == contender && c.Workers == workers && c.Missing == "" && len(c.Samples) > 0 {
			return c
		}
	}
	return nil
}

// A spread is the median, least and greatest of the rounds.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

func (c *cell) spread(of func(sample) float64) spread {
	values := make([]float64, len(c.Samples))
	for i, s := range c.Samples {
		values[i] = of(s)
	}
	return spreadOf(values)
}

// rate is operations per second.
func (c *cell) rate() spread {
	return c.spread(func(s sample) float64 { return float64(s.Count) / (float64(s.NS) / 1e9) })
}

// cpu is nanoseconds of CPU time per operation.
func (c *cell) cpu() float64 {
	return c.spread(func(s sample) float64 { return float64(s.CPU) / float64(max(s.Count, 1)) }).median
}

// p50 and p99 are medians over the rounds of that quantile of one round.
func (c *cell) p50() spread { return c.spread(func(s sample) float64 { return float64(s.P50) }) }
func (c *cell) p99() spread { return c.spread(func(s sample) float64 { return float64(s.P99) }) }

func (c *cell) failed() (n int64, first string) {
	for _, s := range c.Samples {
		n += s.Failed
		if first == "" {
			first = s.Error
		}
	}
	return n, first
}
