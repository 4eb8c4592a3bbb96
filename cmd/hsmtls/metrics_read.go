// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// maxSeries is how many values the labels of one metric may have. What lies on a
// token is not always what its owner has put there.
const maxSeries = 200

// A gatherer reads metrics when somebody asks for them.
type gatherer struct {
	names []string // what it may emit
	read  func(emit emitter)
	descs map[string]*prometheus.Desc
}

// An emitter takes one value of a metric.
type emitter func(name string, value float64, labels ...string)

var _ prometheus.Collector = (*gatherer)(nil)

// reads registers what is read when somebody asks.
func (m *metrics) reads(read func(emit emitter), names ...string) {
	g := &gatherer{names: names, read: read, descs: make(map[string]*prometheus.Desc)}
	for _, name := range names {
		def := metricNamed(name)
		g.descs[name] = prometheus.NewDesc(def.name, def.help, def.labels, nil)
	}
	m.registry.MustRegister(g)
}

func (g *gatherer) Describe(to chan<- *prometheus.Desc) {
	for _, name := range g.names {
		to <- g.descs[name]
	}
}

// Collect drops what would make the whole answer invalid: the same labels twice.
func (g *gatherer) Collect(to chan<- prometheus.Metric) {
	seen, series := make(map[string]bool), make(map[string]int)
	g.read(func(name string, value float64, labels ...string) {
		for i := range labels {
			labels[i] = label(labels[i])
		}
		key := name + "\x00" + strings.Join(labels, "\x00")
		if seen[key] || series[name] == maxSeries {
			return
		}
		seen[key] = true
		series[name]++
		kind := prometheus.GaugeValue
		if metricNamed(name).kind == counter {
			kind = prometheus.CounterValue
		}
		to <- prometheus.MustNewConstMetric(g.descs[name], kind, value, labels...)
	})
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
