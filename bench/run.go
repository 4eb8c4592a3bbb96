// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// run does one experiment: every contender is started, and then they take turns,
// round by round, so that whatever the machine does meanwhile meets all of them.
// The error is about the run as a whole; a contender's is in its cells.
func (b *bench) run(e experiment) ([]cell, error) {
	p, err := b.place(e.route, e.world)
	if err != nil {
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
		fmt.Fprintf(os.Stderr, "bench:       %v\n", err)
		return e.missing(err), nil
	}
	defer p.close()
	t := newTurns(e)
	defer t.stop()
	if e.kind == starts {
		p.delay(e.delay)
	}
	for i, name := range e.contenders {
		if t.actors[i], t.errs[i] = b.actor(e, p, name); t.errs[i] != nil {
			fmt.Fprintf(os.Stderr, "bench:       %s: %v\n", name, t.errs[i])
		}
	}
	p.delay(e.delay)
	if e.duration > 0 || e.kind == starts { // a storm is met cold
		t.take(e.warm)
		t.forget()
	}
	for range e.rounds {
		t.take(e.duration)
		if b.ctx.Err() != nil {
			return nil, b.ctx.Err()
		}
	}
	if e.count {
		t.stop()
		b.count(e, t)
	}
	return t.cells(), nil
}

func (p *place) delay(d time.Duration) {
	if p.fault != nil {
		p.fault.DelayAll(d)
	}
}

func (e experiment) missing(err error) []cell {
	t := newTurns(e)
	for i := range t.errs {
		t.errs[i] = err
	}
	return t.cells()
}

// turns are the contenders of an experiment and what was measured of them. One
// that fails is out.
type turns struct {
	experiment
	actors []actor
	errs   []error
	all    [][]cell // by contender and number of workers
	turn   int
}

func newTurns(e experiment) *turns {
	t := &turns{experiment: e, actors: make([]actor, len(e.contenders)), errs: make([]error, len(e.contenders))}
	for _, name := range e.contenders {
		cells := make([]cell, len(e.workers))
		for w, workers := range e.workers {
			cells[w] = cell{Experiment: e.name, Contender: name, Workers: workers, Calls: -1}
		}
		t.all = append(t.all, cells)
	}
	return t
}

// take gives everybody one turn with each number of workers. Who begins changes.
func (t *turns) take(d time.Duration) {
	for w := range t.workers {
		for i := range t.actors {
			t.one((i+t.turn)%len(t.actors), w, d)
		}
		t.turn++
	}
}

func (t *turns) one(i, w int, d time.Duration) {
	if t.errs[i] != nil || t.actors[i] == nil || t.skips(i, w, d) {
		return
	}
	s, err := t.actors[i].measure(t.workers[w], d)
	c := &t.all[i][w]
	switch {
	case err == nil && s.Count == 0 && !t.mayFail:
		err = fmt.Errorf("every operation failed: %s", s.Error)
	case err == nil && t.address == resumes && s.Resumed == 0 && t.noneResumed(c, s):
		err = errors.New("does not resume")
	}
	if err != nil {
		t.errs[i] = err
		fmt.Fprintf(os.Stderr, "bench:       %s: %v\n", c.Contender, err)
		return
	}
	c.Samples = append(c.Samples, s)
	kib, threads := t.actors[i].usage()
	c.Memory, c.Threads = max(c.Memory, kib), max(c.Threads, threads)
}

// skips spares the tools, which take long, the warm-up, more than three rounds,
// and more processes than make sense.
func (t *turns) skips(i, w int, d time.Duration) bool {
	_, isTool := t.actors[i].(*toolActor)
	return isTool && (d < t.duration || len(t.all[i][w].Samples) >= (t.rounds+1)/2 || t.workers[w] > 8)
}

// noneResumed is for clients that do not say whether they resumed, such as
// Java: the sample then has no such count, and only the speed shows it.
func (t *turns) noneResumed(c *cell, s sample) bool { return c.Contender != "Java" && s.Count > 1 }

// forget drops the samples of the warm-up.
func (t *turns) forget() {
	for i := range t.all {
		for w := range t.all[i] {
			c := &t.all[i][w]
			c.Samples, c.Memory, c.Threads = nil, 0, 0
		}
	}
}

func (t *turns) stop() {
	for i, a := range t.actors {
		if a != nil {
			a.stop()
		}
		t.actors[i] = nil
	}
}

// count repeats the experiment with one worker on the fault module, and divides
// the module calls that were made by the operations.
func (b *bench) count(e experiment, t *turns) {
	p, err := b.place(slow, e.world)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:       no calls counted:", err)
		return
	}
	defer p.close()
	for i, name := range e.contenders {
		if t.errs[i] != nil || tools[name] != nil {
			continue
		}
		if calls, err := b.callsOf(e, p, name); err != nil {
			fmt.Fprintf(os.Stderr, "bench:       calls of %s: %v\n", name, err)
		} else {
			t.all[i][0].Calls = calls
		}
	}
}

func (b *bench) callsOf(e experiment, p *place, name string) (float64, error) {
	before := p.fault.Total()
	a, err := b.actor(e, p, name)
	if err != nil {
		return 0, err
	}
	defer a.stop()
	if e.kind != starts {
		if _, err := a.measure(1, 0); err != nil { // what only the first operation does
			return 0, err
		}
		before = p.fault.Total()
	}
	s, err := a.measure(1, 200*time.Millisecond)
	if err != nil || s.Count == 0 {
		return 0, errors.Join(err, errors.New("nothing was done"))
	}
	return float64(p.fault.Total()-before) / float64(s.Count), nil
}

func (t *turns) cells() []cell {
	var out []cell
	for i, cells := range t.all {
		for _, c := range cells {
			if t.errs[i] != nil {
				c.Missing, c.Samples = t.errs[i].Error(), nil
			}
			out = append(out, c)
		}
	}
	return out
}
