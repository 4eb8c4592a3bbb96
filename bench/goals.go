// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"fmt"
	"strings"
	"time"
)

// A verdict is what the results say about a goal.
type verdict struct {
	measured string
	met      bool
	unknown  bool // something that is needed was not measured
}

var unknown = verdict{measured: "not measured", unknown: true}

// A goal is a number to reach, and how the results are asked about it.
type goal struct {
	what, want string
	ask        func(r *results) verdict
}

// allGoals are the goals that a benchmark can answer.
var allGoals = []goal{
	{"signatures/s, PKCS #1, 1, 2 and 8 goroutines, default sessions", "≥ 0.97 of raw C at each", func(r *results) verdict {
		return r.ratios("sign-pkcs1", us, "raw C", []int{1, 2, 8}, 0.97)
	}},
	{"p99 of one signature, 8 goroutines, as many sessions as cores", "≤ 6.5 ms at ≥ 0.90 of raw C's throughput", func(r *results) verdict {
		return r.tail("hsmtls, 2 sessions", "raw C", 8, 6.5, 0.90, 0)
	}},
	{"the same with 64 goroutines, default sessions", "p99 ≤ 35 ms, ≤ 12 threads, ≥ 0.93 of crypto11's throughput", func(r *results) verdict {
		return r.tail(us, "crypto11", 64, 35, 0.93, 12)
	}},
	{"allocations per signature, PKCS #1 and PSS", "≤ 3", (*results).allocations},
	{"module calls per full handshake and per resumed one", "2 and 0", (*results).handshakeCalls},
	{"signatures/s when a module call takes 2 ms, 1 and 8 goroutines, 8 sessions", "1.0 of raw C (≥ 0.98)", func(r *results) verdict {
		return r.ratios("sign-2ms", "hsmtls, 8 sessions", "raw C", []int{1, 8}, 0.98)
	}},
	{"module calls from start to first handshake, 1 certificate", "≤ 10", func(r *results) verdict {
		c := r.find("start-1", us, 1)
		if c == nil || c.Calls < 0 {
			return unknown
		}
		return verdict{measured: calls(c.Calls), met: c.Calls <= 10}
	}},
	{"module calls for each trust entry loaded", "≤ 1", func(r *results) verdict {
		few, many := r.find("trust-load-100", us, 1), r.find("trust-load-1000", us, 1)
		if few == nil || many == nil || few.Calls < 0 || many.Calls < 0 {
			return unknown
		}
		each := (many.Calls - few.Calls) / 900
		return verdict{measured: number(each), met: each <= 1}
	}},
	{"full handshakes/s as client, 1 and 8 at a time", "≥ every peer", func(r *results) verdict { return r.fastest("client", []int{1, 8}) }},
	{"CPU per handshake as client, 1 and 8 at a time", "≤ the best peer's", func(r *results) verdict { return r.cheapest("client", []int{1, 8}, everyClient) }},
	{"full handshakes/s as server, 8 at a time", "≥ every peer", func(r *results) verdict { return r.fastest("server", []int{8}) }},
	{"CPU per handshake as server, 8 at a time", "≤ nginx's", func(r *results) verdict { return r.cheapest("server", []int{8}, []string{"nginx"}) }},
	{"resumed against full handshakes/s, 1 at a time", "≥ 10 ×, no module call", (*results).resumption},
	{"process start to first handshake, 1 certificate", "≤ the fastest C peer, ≤ 15 MB", func(r *results) verdict {
		return r.start("start-1", us, 0, 15, "OpenSSL engine", "GnuTLS")
	}},
	{"the same, 1 000 certificates, one identity used", "≤ 48 ms", func(r *results) verdict { return r.start("start-1000", us, 48, 0) }},
	{"the same, all 1 000 entries loaded and verified", "≤ 80 ms, ≤ 30 MB", func(r *results) verdict {
		return r.start("start-1000", "hsmtls, trust store", 80, 30)
	}},
	{"10 000 trust entries: load and verify", "≤ 1.5 s, heap ≤ 60 MB", (*results).bigLoad},
	{"10 000 trust entries: refresh after one change", "≤ 150 ms", func(r *results) verdict { return r.start("trust-refresh-10000", us, 150, 0) }},
	{"10 000 trust entries: rate of handshakes", "≥ 0.95 of the rate with one entry", func(r *results) verdict {
		return r.ratios("client-many", "hsmtls, 10 000 entries", us, []int{1}, 0.95)
	}},
	{"storm of 2 000 dials", "≤ 16 threads, ≤ 80 MB, nothing fails", func(r *results) verdict { return r.storm("storm", 16) }},
	{"the same with a module stuck at 500 ms a call", "threads ≤ sessions + 10 (18); what is not served is refused within the deadline", func(r *results) verdict {
		return r.storm("storm-stuck", 18)
	}},
	{"resident memory of a terminal service (server, 8 at a time)", "≤ 25 MB", func(r *results) verdict {
		c := r.find("server", us, 8)
		if c == nil {
			return unknown
		}
		return verdict{measured: mib(c.Memory), met: c.Memory <= 25<<10}
	}},
}

// goals is the table of goals.
func (r *results) goals() string {
	var w strings.Builder
	w.WriteString("| what | goal | measured | |\n|---|---|---|---|\n")
	met, known := 0, 0
	for _, g := range allGoals {
		v := g.ask(r)
		word := "**not met**"
		switch {
		case v.unknown:
			word = "unknown"
		case v.met:
			word = "met"
			met++
		}
		if !v.unknown {
			known++
		}
		fmt.Fprintf(&w, "| %s | %s | %s | %s |\n", g.what, g.want, v.measured, word)
	}
	fmt.Fprintf(&w, "\n%d of the %d goals that were measured are met.\n\n", met, known)
	return w.String()
}

// ratios compares rates with those of a peer.
func (r *results) ratios(experiment, ours, peer string, workers []int, least float64) verdict {
	v := verdict{met: true}
	var said []string
	for _, n := range workers {
		a, b := r.find(experiment, ours, n), r.find(experiment, peer, n)
		if a == nil || b == nil {
			return unknown
		}
		q := a.rate().median / b.rate().median
		said = append(said, fmt.Sprintf("%.2f", q))
		v.met = v.met && q >= least
	}
	v.measured = strings.Join(said, ", ")
	return v
}

// tail looks at the slowest signatures; zero threads is no bound.
func (r *results) tail(ours, peer string, workers int, ms, least float64, threads int) verdict {
	a, b := r.find("sign-pkcs1", ours, workers), r.find("sign-pkcs1", peer, workers)
	if a == nil || b == nil {
		return unknown
	}
	p99, q := a.p99().median/float64(time.Millisecond), a.rate().median/b.rate().median
	return verdict{
		measured: fmt.Sprintf("p99 %s ms, %.2f of %s, %d threads", number(p99), q, peer, a.Threads),
		met:      p99 <= ms && q >= least && (threads == 0 || a.Threads <= threads),
	}
}

func (r *results) allocations() verdict {
	a, b := r.find("sign-pkcs1", us, 1), r.find("sign-pss", us, 1)
	if a == nil || b == nil {
		return unknown
	}
	mallocs := func(s sample) float64 { return float64(s.Mallocs) }
	x, y := a.spread(mallocs).median, b.spread(mallocs).median
	return verdict{measured: fmt.Sprintf("%.0f and %.0f", x, y), met: x <= 3 && y <= 3}
}

func (r *results) handshakeCalls() verdict {
	full, again := r.find("client", us, 1), r.find("resumed", us, 1)
	if full == nil || again == nil || full.Calls < 0 || again.Calls < 0 {
		return unknown
	}
	return verdict{measured: calls(full.Calls) + " and " + calls(again.Calls), met: full.Calls == 2 && again.Calls == 0}
}

// fastest compares our rate with that of the fastest peer.
func (r *results) fastest(experiment string, workers []int) verdict {
	return r.best(experiment, workers, everybody(experiment), func(c *cell) float64 { return -c.rate().median })
}

// cheapest compares our CPU time with that of the most frugal of some peers.
func (r *results) cheapest(experiment string, workers []int, peers []string) verdict {
	return r.best(experiment, workers, peers, (*cell).cpu)
}

func everybody(experiment string) []string {
	if experiment == "server" {
		return everyServer
	}
	return everyClient
}

// best compares us with the peer of the least cost.
func (r *results) best(experiment string, workers []int, peers []string, cost func(*cell) float64) verdict {
	v := verdict{met: true}
	var said []string
	for _, n := range workers {
		ours := r.find(experiment, us, n)
		var best *cell
		for _, name := range peers {
			if c := r.find(experiment, name, n); name != us && c != nil && (best == nil || cost(c) < cost(best)) {
				best = c
			}
		}
		if ours == nil || best == nil {
			return unknown
		}
		said = append(said, fmt.Sprintf("%.2f of %s", cost(ours)/cost(best), best.Contender))
		v.met = v.met && cost(ours) <= cost(best)
	}
	v.measured = strings.Join(said, ", ")
	return v
}

func (r *results) resumption() verdict {
	full, again := r.find("client", us, 1), r.find("resumed", us, 1)
	if full == nil || again == nil {
		return unknown
	}
	q := again.rate().median / full.rate().median
	return verdict{measured: fmt.Sprintf("%.1f ×, %s calls", q, calls(again.Calls)), met: q >= 10 && again.Calls == 0}
}

// start bounds the time of one operation in milliseconds, absolutely or by the
// fastest of some peers, and the memory in megabytes; zero is no bound.
func (r *results) start(experiment, ours string, ms, megabytes float64, peers ...string) verdict {
	c := r.find(experiment, ours, 1)
	if c == nil {
		return unknown
	}
	took, size := c.p50().median/float64(time.Millisecond), float64(c.Memory)/1024
	said := number(took) + " ms"
	for _, name := range peers {
		p := r.find(experiment, name, 1)
		if p == nil {
			continue
		}
		if t := p.p50().median / float64(time.Millisecond); ms == 0 || t < ms {
			ms = t
		}
	}
	if len(peers) > 0 {
		said += " (the peer: " + number(ms) + " ms)"
	}
	if megabytes > 0 {
		said += ", " + number(size) + " MB"
	}
	return verdict{measured: said, met: took <= ms && (megabytes == 0 || size <= megabytes), unknown: ms == 0}
}

func (r *results) bigLoad() verdict {
	c := r.find("trust-load-10000", us, 1)
	if c == nil {
		return unknown
	}
	took := c.p50().median
	heap := c.spread(func(s sample) float64 { return float64(s.Heap) }).median / (1 << 20)
	return verdict{measured: fmt.Sprintf("%s, heap %s MB", duration(took), number(heap)), met: took <= 1.5e9 && heap <= 60}
}

// storm bounds threads and, if the module is well, memory. In the stuck one failures
// are expected: they must come before the deadline of a handshake and the patience of
// the driver.
func (r *results) storm(experiment string, threads int) verdict {
	c := r.find(experiment, us, 2000)
	if c == nil {
		return unknown
	}
	failed, first := c.failed()
	longest := c.spread(func(s sample) float64 { return float64(s.NS) }).most
	v := verdict{met: c.Threads <= threads}
	v.measured = fmt.Sprintf("%d threads, %s, p99 %s, %d failed", c.Threads, mib(c.Memory), duration(c.p99().median), failed)
	if experiment == "storm" {
		v.met = v.met && c.Memory <= 80<<10 && failed == 0
		return v
	}
	v.met = v.met && longest <= 17e9
	v.measured += fmt.Sprintf(" (%q), all over after %s", first, duration(longest))
	return v
}
