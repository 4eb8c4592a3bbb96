// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// remembered is how many handshakes that came to nothing the status shows.
const remembered = 20

// A handshakeKind is what handshakes are counted by.
type handshakeKind struct{ role, outcome, reason string }

// An unfinished is a handshake that came to nothing. JSON has these fields.
type unfinished struct {
	Time    time.Time `json:"time"`
	Role    string    `json:"role"` // ours: client, server
	Address string    `json:"address"`
	Name    string    `json:"name,omitempty"` // that a client wants its server to prove
	Outcome string    `json:"outcome"`        // refused, failed
	Reason  string    `json:"reason"`
	Error   string    `json:"error"`
}

// A tally counts handshakes, and remembers the last ones that came to nothing. It is
// safe for concurrent use.
type tally struct {
	mu      sync.Mutex
	counts  map[handshakeKind]uint64
	resumed map[string]uint64 // by role
	recent  []unfinished      // the oldest first
}

var _ hsmtls.Observer = (*tally)(nil)

func newTally() *tally {
	return &tally{counts: make(map[handshakeKind]uint64), resumed: make(map[string]uint64)}
}

func (t *tally) Handshake(e hsmtls.HandshakeEvent) {
	kind := handshakeKind{role: roleOf(e)}
	kind.outcome, kind.reason = handshakeReason(e.Err)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[kind]++
	if e.Report.Resumed {
		t.resumed[kind.role]++
	}
	if e.Err == nil {
		return
	}
	t.recent = append(t.recent, unfinished{
		Time: time.Now().UTC(), Role: kind.role, Address: clean(e.Address), Name: clean(e.Name),
		Outcome: kind.outcome, Reason: kind.reason, Error: sentence(e.Err),
	})
	if len(t.recent) > remembered {
		t.recent = slices.Delete(t.recent, 0, len(t.recent)-remembered)
	}
}

func (t *tally) Signature(hsmtls.SignatureEvent) {}

// handshakes returns the counts.
func (t *tally) handshakes() (counts map[handshakeKind]uint64, resumed map[string]uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts), maps.Clone(t.resumed)
}

// unfinished returns the last ones that came to nothing, the newest first.
func (t *tally) unfinished() []unfinished {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Clone(t.recent)
	slices.Reverse(all)
	return append([]unfinished{}, all...)
}

const (
	serverRole = "server"
	clientRole = "client"
)

var tlsRoles = []string{serverRole, clientRole}

func roleOf(e hsmtls.HandshakeEvent) string {
	if e.Server {
		return serverRole
	}
	return clientRole
}

// handshakeKinds are all kinds there are, each once: a counter that begins with its first
// event has not risen for Prometheus.
var handshakeKinds = func() (all []handshakeKind) {
	for _, role := range tlsRoles {
		all = append(all, handshakeKind{role, completed, noReason}, handshakeKind{role, refused, otherRule})
		for _, word := range ruleWords {
			all = append(all, handshakeKind{role, refused, word})
		}
		for _, r := range handshakeReasons {
			all = append(all, handshakeKind{role, r.outcome, r.word})
		}
	}
	slices.SortFunc(all, func(a, b handshakeKind) int {
		return cmp.Or(cmp.Compare(a.role, b.role), cmp.Compare(a.outcome, b.outcome), cmp.Compare(a.reason, b.reason))
	})
	return slices.Compact(all)
}()
