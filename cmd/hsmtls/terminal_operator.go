// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// An operator is the person at a terminal that is running: standard input and
// output.
type operator struct {
	app      *app
	keys     *keystore.Store
	terminal *pairing.Terminal
	follower *follower
	dialogue bool // with a person, not with a program

	saying sync.Mutex

	// For the follower alone, once there is one.
	presented *x509.Certificate // the terminal's own
	warned    map[string]bool   // by DER: said to expire soon
}

func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// A terminalEvent is one thing that happened to a terminal.
type terminalEvent struct {
	Event   string `json:"event"`
	Address string `json:"address,omitempty"`
	Code    string `json:"code,omitempty"`
	Expires string `json:"expires,omitempty"`
	POSID   string `json:"pos_id,omitempty"`
	Error   string `json:"error,omitempty"`
	Method  string `json:"method,omitempty"`
	Path    string `json:"path,omitempty"`
}

// say prints an event. What a program waits for goes to standard output; the rest
// is for a person, or in the log already.
func (o *operator) say(e terminalEvent) {
	o.saying.Lock()
	defer o.saying.Unlock()
	if o.app.globals.json {
		_ = o.app.showLine(e) // nobody to tell
		return
	}
	switch e.Event {
	case "listening", "screen", "admin":
		fmt.Fprintf(o.app.stdout, "%s on %s\n", e.Event, e.Address)
	case "code":
		fmt.Fprintf(o.app.stdout, "code: %s expires: %s\n", e.Code, e.Expires)
	case "paired":
		fmt.Fprintf(o.app.stdout, "paired: %s\n", clean(e.POSID))
	case "request":
		fmt.Fprintf(o.app.stderr, "hsmtls: %s %s from %s, POS %s\n", clean(e.Method), clean(e.Path), e.Address, cell(e.POSID))
	case "refreshed":
		fmt.Fprintln(o.app.stderr, "hsmtls: token read again")
	default:
		if o.dialogue {
			fmt.Fprintln(o.app.stdout, e.sentence())
		}
	}
}

func (e terminalEvent) sentence() string {
	switch e.Event {
	case "wrong":
		return "a wrong code was tried"
	case "working":
		return "a POS has given the code"
	case "blocked":
		return "too many wrong codes: none is shown until the next tap"
	case "failed":
		return fmt.Sprintf("POS %s is not paired: %s", cell(e.POSID), e.Error)
	case "renewed", "revoked":
		return fmt.Sprintf("%s: %s", e.Event, clean(e.POSID))
	}
	return e.Event
}

// follow says what happens, until ctx ends.
func (o *operator) follow(ctx context.Context) {
	for e := range o.terminal.Events(ctx) {
		said := terminalEvent{Event: e.Kind.String(), POSID: e.POSID}
		switch e.Kind {
		case pairing.EventState:
			if e.State.Phase != pairing.PhaseShowing {
				continue
			}
			said.Event = pairing.EventCode.String()
			fallthrough
		case pairing.EventCode:
			said.Code, said.Expires = e.State.Code.Reveal(), e.State.Expires.UTC().Format(time.RFC3339)
		case pairing.EventFailed:
			said.Error = problem(e.Err)
		}
		o.say(said)
	}
}

// listen obeys the lines of standard input. Its end is not the end of the
// terminal: a service has none.
func (o *operator) listen(ctx context.Context, quit func()) {
	o.prompt()
	lines := o.lines(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case line, ok := <-lines:
			if !ok {
				return
			}
			if o.dialogue {
				o.obey(ctx, strings.TrimSpace(line), quit)
			} else {
				o.tap()
			}
		}
	}
}

// lines reads on until the process ends: nothing interrupts a read of standard
// input.
func (o *operator) lines(ctx context.Context) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(o.app.stdin); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

func (o *operator) tap() {
	if err := o.terminal.GenerateCode(); err != nil && !errors.Is(err, pairing.ErrClosed) {
		o.complain(err)
	}
}

func (o *operator) complain(err error) {
	o.saying.Lock()
	defer o.saying.Unlock()
	o.app.complain(err, hintFor(err))
}

const promptText = "Enter shows a setup code; close, details, list, revoke POSID, refresh and quit do what they say"

func (o *operator) prompt() {
	if o.dialogue {
		o.print(promptText)
	}
}

func (o *operator) print(format string, args ...any) {
	o.saying.Lock()
	defer o.saying.Unlock()
	fmt.Fprintf(o.app.stdout, format+"\n", args...)
}

// obey does what a person says.
func (o *operator) obey(ctx context.Context, line string, quit func()) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "":
		o.tap()
	case "close":
		o.terminal.Dismiss()
	case "details":
		o.details()
	case "list":
		o.list()
	case "revoke":
		id := strings.TrimSpace(rest)
		if err := o.terminal.Revoke(ctx, id); err != nil {
			o.complain(fmt.Errorf("%w: %q", err, id))
		}
	case "refresh":
		o.follower.now(ctx)
	case "quit":
		quit()
	default:
		o.prompt()
	}
}

func (o *operator) details() {
	d := o.terminal.Details()
	o.saying.Lock()
	defer o.saying.Unlock()
	pairs := []string{"name", cell(d.Name), "root", d.Fingerprint}
	for _, at := range d.Addresses {
		pairs = append(pairs, "https", d.HTTPS(at), "wss", d.WSS(at), "link", d.Link(at))
	}
	fields(o.app.stdout, pairs...)
}

func (o *operator) list() {
	all := describePOS(o.terminal.List(), o.terminal.Expired())
	o.saying.Lock()
	defer o.saying.Unlock()
	printPaired(o.app.stdout, all)
}
