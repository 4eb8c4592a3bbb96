// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

func checkGODEBUG(context.Context, *exam) (found []finding) {
	for _, f := range hsmtls.Audit(new(tls.Config)) {
		if f.Rule != hsmtls.RuleGODEBUG {
			continue
		}
		weak := finding{
			Level: levelWarning, Text: strings.TrimPrefix(f.Detail, "hsmtls: "),
			Why:  "dial and serve do not depend on it, but every other TLS of a program with this setting does",
			Mend: "unset GODEBUG",
		}
		if os.Getenv("GODEBUG") == "" {
			weak.Mend = "" // it is compiled in
		}
		found = append(found, weak)
	}
	return orFine(found, "no setting weakens TLS")
}

const setClock = "timedatectl set-ntp true"

// A trace is a point in time that has been.
type trace struct {
	what string
	at   time.Time
}

const (
	clockSlack = 5 * time.Minute           // of machines that write files for each other
	clockFar   = 10 * 365 * 24 * time.Hour // in which nobody has touched anything
)

func checkClock(_ context.Context, e *exam) []finding {
	return e.judgeClock(e.traces())
}

func (e *exam) judgeClock(traces []trace) []finding {
	now := e.now.UTC().Format(time.RFC3339)
	if len(traces) == 0 {
		return []finding{{Level: levelNote, Text: "the clock says " + now + ", and there is nothing to compare it with"}}
	}
	latest := slices.MaxFunc(traces, func(a, b trace) int { return a.at.Compare(b.at) })
	f := finding{Level: levelWarning, Mend: setClock, Why: "a wrong clock accepts what has ended and refuses what is good"}
	switch ahead := e.now.Sub(latest.at); {
	case ahead < -clockSlack:
		f.Text = fmt.Sprintf("the clock says %s, which is before %s at %s", now, latest.what, latest.at.UTC().Format(time.RFC3339))
	case ahead > clockFar:
		f.Text = fmt.Sprintf("the clock says %s, which is more than ten years after %s", now, latest.what)
	default:
		return []finding{{Level: levelOK, Text: now + ", not before the program, our certificates, or the files"}}
	}
	return []finding{f}
}

// traces are what the clock is compared with: the build, certificates of our own,
// which a CA has made by its clock, and files.
func (e *exam) traces() (traces []trace) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				traces = append(traces, trace{"the revision this program was built from", at})
			}
		}
	}
	for _, i := range e.ids {
		if len(i.Chain) > 0 {
			traces = append(traces, trace{"the beginning of certificate " + cell(i.Alias), i.Chain[0].NotBefore})
		}
	}
	g := &e.app.globals
	paths := slices.Concat([]string{cmp.Or(e.info.Module, g.module), g.pinFile}, g.acquirerRoots, g.vendorRoots)
	if self, err := os.Executable(); err == nil {
		paths = append(paths, self)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			traces = append(traces, trace{"the last change of file " + cell(path), info.ModTime()})
		}
	}
	return traces
}
