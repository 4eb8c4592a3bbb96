// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
)

// A notifier tells the service manager how the service is, as sd_notify(3) has it: with
// datagrams to a Unix socket. It is safe for concurrent use.
type notifier struct {
	conn *net.UnixConn // nil if nobody wants to know
	warn func(format string, args ...any)

	mu     sync.Mutex
	over   bool // STOPPING=1 has been said
	failed bool // the last datagram was not taken
}

// newNotifier connects to what $NOTIFY_SOCKET names: a path, or an abstract socket with a
// @ before it. Empty is nobody. With an error comes one that tells nobody.
func newNotifier(socket string, warn func(format string, args ...any)) (*notifier, error) {
	n := &notifier{warn: warn}
	if socket == "" {
		return n, nil
	}
	if socket[0] != '/' && socket[0] != '@' {
		return n, fmt.Errorf("NOTIFY_SOCKET is neither a path nor an abstract socket: %q", socket)
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return n, fmt.Errorf("NOTIFY_SOCKET: %w", err)
	}
	n.conn = conn
	return n, nil
}

// send gives up soon: a manager that does not read must not hold up the service.
func (n *notifier) send(assignments ...string) {
	if n.conn == nil {
		return
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, err := n.conn.Write([]byte(strings.Join(assignments, "\n")))
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil && !n.failed {
		n.warn("service manager cannot be told: %v", err)
	}
	n.failed = err != nil
}

// enter says how far the service is. After stopping there is nothing more to say.
func (n *notifier) enter(s stage) {
	n.mu.Lock()
	over := n.over
	n.over = over || s == stopping
	n.mu.Unlock()
	switch {
	case over:
	case s == ready:
		n.send("READY=1")
	case s == reloading:
		n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
	case s == stopping:
		n.send("STOPPING=1")
	}
}

// keep beats for the watchdog and keeps the status line, until ctx ends.
//
// A beat means that this process works: its timers run, and the locks of its token, its
// trust store and its connections can be had, which asks no token anything. It does not
// mean that the token works. An outage is waited for, and a restart would only lose the
// callers that are being held and spend another try of the PIN.
func (n *notifier) keep(ctx context.Context, r running, beat time.Duration) {
	if n.conn == nil {
		return
	}
	changed := make(chan struct{}, 1)
	defer r.token.Watch(func(hsm.Status) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	var tick <-chan time.Time
	if beat > 0 {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		tick = ticker.C
	}
	for n.send("STATUS=" + r.state()); ; {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			n.send("STATUS=" + r.state())
		case <-tick:
			r.touch()
			n.send("WATCHDOG=1")
		}
	}
}

// state is the token's, in a line.
func (r running) state() string {
	s := r.token.Status()
	if s.Reason == nil {
		return "token " + s.State.String()
	}
	return "token " + s.State.String() + ": " + clean(s.Reason.Error())
}

// touch takes every lock that a connection takes, one after the other.
func (r running) touch() {
	r.token.Status()
	r.trust.Generation()
	r.provider.AdmissionCounters()
	if r.tunnel != nil {
		r.tunnel()
	}
	if r.open != nil {
		r.open()
	}
}

func (n *notifier) close() {
	if n.conn != nil {
		n.conn.Close()
	}
}

// watchdogBeat is a third of what the service manager allows, 0 if it does not watch this
// process.
func watchdogBeat(usec, pid string) time.Duration {
	limit, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || limit <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(limit) * time.Microsecond / 3
}
