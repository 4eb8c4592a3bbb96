// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

// Bench measures this module and its peers side by side, round by round, with
// the same key on the same SoftHSM, and writes RESULTS.md, raw.json and a plot.
// Start it with `make bench`, which installs the peers and builds the contenders.
//
// A contender is a process of its own. The driver starts it, tells it what to do
// by the line protocol of package contend, and reads its CPU time, memory and
// threads from /proc. Whoever cannot be measured is in the results with the
// reason. The exit status is 0 if this module was measured in every experiment.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "world":
		err = worldMain(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "neutral":
		err = neutralMain()
	default:
		err = driverMain()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options is what the command line says.
type options struct {
	bin    string // contenders, as scripts/bench built them
	out    string // folder of RESULTS.md
	plot   string // file
	module string // SoftHSM
	kit    string // client library of p11-kit; empty if there is none
	render bool
	quick  bool
	only   *regexp.Regexp // nil: everything
}

func parse() (options, error) {
	var o options
	only := flag.String("only", "", "run the experiments that match this `regexp`, print them and write nothing")
	flag.StringVar(&o.bin, "bin", "", "`folder` with the contenders")
	flag.StringVar(&o.out, "out", "bench", "`folder` for RESULTS.md and raw.json; NOTES.md, ESTATE.md and FAILURES.md there are included")
	flag.StringVar(&o.plot, "plot", "docs/images/bench.svg", "`file` for the plot")
	flag.StringVar(&o.module, "module", os.Getenv("HSMTLS_TEST_MODULE"), "`path` of SoftHSM's library")
	flag.StringVar(&o.kit, "p11kit", os.Getenv("HSMTLS_TEST_P11KIT"), "`path` of p11-kit's client library")
	flag.BoolVar(&o.quick, "quick", false, "fewer and shorter rounds, and no token with 10 000 entries")
	flag.BoolVar(&o.render, "render", false, "write RESULTS.md and the plot again from raw.json, without measuring")
	flag.Parse()
	if !o.render && (o.bin == "" || o.module == "") {
		return o, errors.New("-bin and -module are required; use make bench")
	}
	var err error
	if *only != "" {
		o.only, err = regexp.Compile(*only)
	}
	return o, err
}

func driverMain() error {
	o, err := parse()
	if err != nil {
		return err
	}
	if o.render {
		r, err := readResults(filepath.Join(o.out, "raw.json"))
		if err != nil {
			return err
		}
		return write(o, r)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := measure(ctx, o)
	if err != nil {
		return err
	}
	if o.only != nil {
		fmt.Print(r.tables())
	} else if err := write(o, r); err != nil {
		return err
	}
	return r.complete()
}

// measure runs the experiments.
func measure(ctx context.Context, o options) (*results, error) {
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	defer b.close()
	begin := time.Now()
	r := &results{Head: b.head()}
	plan := plan(o)
	for i, e := range plan {
		fmt.Fprintf(os.Stderr, "bench: %2d/%d %4.0f s  %s\n", i+1, len(plan), time.Since(begin).Seconds(), e.title)
		cells, err := b.run(e)
		if err != nil {
			return nil, err
		}
		r.Cells = append(r.Cells, cells...)
	}
	r.Head.Took = time.Since(begin).Round(time.Second).String()
	return r, nil
}

// write writes everything that a run leaves.
func write(o options, r *results) error {
	text, err := r.page(o.out)
	if err != nil {
		return err
	}
	return errors.Join(
		r.save(filepath.Join(o.out, "raw.json")),
		os.WriteFile(filepath.Join(o.out, "RESULTS.md"), []byte(text), 0o644),
		os.MkdirAll(filepath.Dir(o.plot), 0o755),
		os.WriteFile(o.plot, []byte(r.plot()), 0o644),
	)
}
