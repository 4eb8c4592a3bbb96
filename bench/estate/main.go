// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Estate measures a gateway that keeps thousands of terminals connected, and what
// happens when all of them lose their power at once.
//
//	go run ./bench/estate -terminals 10000 -module /usr/lib/softhsm/libsofthsm2.so
//
// The terminals are real TLS servers in processes of their own, the key of the
// gateway is in a fresh SoftHSM token. It prints a section in Markdown. Progress
// goes to standard error.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Options are the flags.
type options struct {
	terminals int
	processes int
	module    string
	outage    time.Duration
	dark      bool // this is a process of terminals
}

func main() {
	log.SetFlags(0)
	var o options
	flag.IntVar(&o.terminals, "terminals", 10000, "how many `terminals`")
	flag.IntVar(&o.processes, "processes", 3, "how many `processes` have them")
	flag.StringVar(&o.module, "module", "/usr/lib/softhsm/libsofthsm2.so", "SoftHSM's library, a `FILE`")
	flag.DurationVar(&o.outage, "outage", 5*time.Second, "how long the power is off")
	flag.BoolVar(&o.dark, "simulate", false, "be a part of the estate, on standard input and output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		log.Fatal(err)
	}
}

func (o options) run(ctx context.Context) error {
	if o.dark {
		return simulate(os.Stdin, os.Stdout)
	}
	var rows []row
	for _, lifetime := range []time.Duration{0, -1} {
		r, err := o.measure(ctx, lifetime)
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	print(os.Stdout, o, rows)
	return nil
}

// A row is what was measured with or without resumption.
type row struct {
	resumption      bool
	rate            float64       // signatures a second, measured before
	first, back     time.Duration // to 99 % connected: at the start, after the power cut
	signedFirst     uint64        // signatures until all were connected
	signedBack      uint64
	memory, process int // KiB: of the gateway per terminal, and in all
	failed          int // dials that failed while the power was on
}

func print(w *os.File, o options, rows []row) {
	fmt.Fprintf(w, "| %d terminals | with resumption | without |\n|---|---|---|\n", o.terminals)
	line := func(what string, value func(row) string) {
		fmt.Fprintf(w, "| %s | %s | %s |\n", what, value(rows[0]), value(rows[1]))
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	arithmetic := func(r row, signatures uint64) string {
		return fmt.Sprintf("%.1f s", float64(signatures)/r.rate)
	}
	line("signatures a second, 8 at a time, just before", func(r row) string { return fmt.Sprintf("%.0f", r.rate) })
	line("first connection: time to 99 %", func(r row) string { return seconds(r.first) })
	line("signatures for that", func(r row) string { return fmt.Sprint(r.signedFirst) })
	line("these signatures alone would take", func(r row) string { return arithmetic(r, r.signedFirst) })
	line(fmt.Sprintf("power cut of all for %v: time from its end to 99 %%", o.outage), func(r row) string { return seconds(r.back) })
	line("signatures for that", func(r row) string { return fmt.Sprint(r.signedBack) })
	line("these signatures alone would take", func(r row) string { return arithmetic(r, r.signedBack) })
	line("memory of the gateway, all connected", func(r row) string { return fmt.Sprintf("%d MiB", r.process/1024) })
	line("the same for each terminal", func(r row) string { return fmt.Sprintf("%d KiB", r.memory) })
	line("dials that failed with the power on", func(r row) string { return fmt.Sprint(r.failed) })
}
