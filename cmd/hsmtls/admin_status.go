// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

// maxListed is how many of one kind a status lists. It counts all of them.
const maxListed = 1000

// A commandStatus is how a command is: /status has these fields, the page shows them.
type commandStatus struct {
	Command      string           `json:"command"`
	Alias        string           `json:"alias"`
	Build        build            `json:"build"`
	Started      time.Time        `json:"started"`
	Uptime       float64          `json:"uptime_seconds"`
	Health       health           `json:"health"`
	Token        tokenStatus      `json:"token"`
	Certificates []ending         `json:"certificates"`
	Unread       string           `json:"certificates_problem,omitempty"` // why they could not be read again
	Trust        trustStatus      `json:"trust"`
	Handshakes   []handshakeCount `json:"handshakes"`
	Resumed      uint64           `json:"resumed"`
	Unfinished   []unfinished     `json:"unfinished"` // the newest first
	Pairing      *pairingStatus   `json:"pairing,omitempty"`
	Tunnel       *tunnelStatus    `json:"tunnel,omitempty"`
	Connections  *int             `json:"connections,omitempty"` // of serve
}

// A tokenStatus is how the token is, in the words of hsmtls token watch.
type tokenStatus struct {
	Label string `json:"label"`
	Model string `json:"model"`
	watched
	Since  time.Time         `json:"since"`
	Outage float64           `json:"last_outage_seconds"` // until now if it lasts
	Errors map[string]uint64 `json:"errors"`              // by CKR_ name
}

// A trustStatus is what the trust store holds.
type trustStatus struct {
	Count    int          `json:"entries_total"`
	Entries  []trustEntry `json:"entries"` // the first to end first
	Rejected []rejection  `json:"rejected"`
	CRLs     []crl        `json:"crls"`
	Denied   int          `json:"denied"`
	Missing  int          `json:"missing_anchors"`
}

type trustEntry struct {
	Alias    string    `json:"alias"`
	Usages   []string  `json:"usages"`
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"not_after"` // with its issuers
}

type rejection struct {
	Label   string `json:"label"`
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Error   string `json:"error"`
}

type handshakeCount struct {
	Role    string `json:"role"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
	Count   uint64 `json:"count"`
}

// A pairingStatus says what the operator's screen shows, without the code.
type pairingStatus struct {
	Phase  string      `json:"phase"`
	Until  *time.Time  `json:"code_expires,omitempty"`
	Wrong  int         `json:"wrong"`
	Burnt  int         `json:"burnt"`
	Paired []pairedPOS `json:"paired"`
}

type pairedPOS struct {
	POSID    string    `json:"pos_id"`
	State    string    `json:"state"`
	NotAfter time.Time `json:"not_after"`
}

type tunnelStatus struct {
	Mode       string            `json:"mode"`
	State      string            `json:"state"`
	Listen     string            `json:"listen"`
	Target     string            `json:"target"`
	Open       int               `json:"open"`
	Pending    int               `json:"pending"`
	Accepted   uint64            `json:"accepted"`
	Ended      map[string]uint64 `json:"ended"` // by reason
	ToTarget   uint64            `json:"to_target"`
	FromTarget uint64            `json:"from_target"`
}

func (d *admin) status(ctx context.Context) commandStatus {
	s := commandStatus{
		Command: d.command, Alias: clean(d.alias), Build: thisBuild(),
		Started: d.began.UTC(), Uptime: time.Since(d.began).Seconds(),
		Health: d.health.look(ctx), Token: d.tokenStatus(), Trust: describeTrust(d.trust), Unfinished: d.tally.unfinished(),
	}
	all, err := d.own.list(ctx)
	s.Certificates, s.Unread = listed(all), problem(err)
	s.Handshakes, s.Resumed = describeHandshakes(d.tally)
	if d.terminal != nil {
		s.Pairing = describePairing(d.terminal)
	}
	if d.tunnel != nil {
		s.Tunnel = describeTunnel(d.tunnel())
	}
	if d.open != nil {
		n := d.open()
		s.Connections = &n
	}
	return s
}

// listed is never nil, for JSON, and never too long.
func listed[T any](all []T) []T { return append([]T{}, all[:min(len(all), maxListed)]...) }

func (d *admin) tokenStatus() tokenStatus {
	s := d.token.Status()
	return tokenStatus{
		Label: d.label, Model: d.model, watched: describeWatched(s), Since: s.Since.UTC(),
		Outage: outageTime(s.LastOutage, time.Now()).Seconds(), Errors: codesByName(s.Errors),
	}
}

func (t tokenStatus) Ready() bool { return t.State == hsm.Ready.String() }

func describeTrust(trust *truststore.Store) trustStatus {
	all := trust.Entries()
	s := trustStatus{Count: len(all), Denied: len(trust.Denied()), Missing: len(trust.MissingAnchors()), Rejected: []rejection{}, CRLs: []crl{}}
	entries := make([]trustEntry, 0, len(all))
	for _, e := range all {
		one := trustEntry{Alias: clean(e.Alias), Usages: []string{}, Subject: clean(e.Certificate.Subject.String()), NotAfter: e.Expiry().Certificate.NotAfter.UTC()}
		for _, u := range e.Usages {
			one.Usages = append(one.Usages, usageWord(u))
		}
		entries = append(entries, one)
	}
	slices.SortStableFunc(entries, func(a, b trustEntry) int { return a.NotAfter.Compare(b.NotAfter) })
	s.Entries = listed(entries)
	for _, r := range listed(trust.Rejected()) {
		d := describeRejected(r)
		s.Rejected = append(s.Rejected, rejection{Label: clean(d.Label), Subject: clean(d.subject()), Reason: rejectedReason(r.Err), Error: d.Reason})
	}
	for _, c := range listed(trust.CRLs()) {
		s.CRLs = append(s.CRLs, describeCRL(c))
	}
	return s
}

func describeHandshakes(t *tally) (all []handshakeCount, resumed uint64) {
	counts, byRole := t.handshakes()
	all = []handshakeCount{}
	for kind, n := range counts {
		all = append(all, handshakeCount{kind.role, kind.outcome, kind.reason, n})
	}
	slices.SortFunc(all, func(a, b handshakeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Reason, b.Reason))
	})
	for _, n := range byRole {
		resumed += n
	}
	return all, resumed
}

func describePairing(t *pairing.Terminal) *pairingStatus {
	state := t.State()
	s := &pairingStatus{Phase: state.Phase.String(), Wrong: state.Wrong, Burnt: state.Burnt, Paired: []pairedPOS{}}
	if state.Phase == pairing.PhaseShowing {
		until := state.Expires.UTC()
		s.Until = &until
	}
	for _, p := range listed(describePOS(t.List(), t.Expired())) {
		s.Paired = append(s.Paired, pairedPOS{clean(p.POSID), p.State, p.Certificate.NotAfter})
	}
	return s
}

func describeTunnel(t tunnel.Status) *tunnelStatus {
	s := &tunnelStatus{
		Mode: t.Mode.String(), State: t.State.String(), Listen: t.Listen, Target: t.Target, Open: t.Open, Pending: t.Pending,
		Accepted: t.Accepted, Ended: make(map[string]uint64), ToTarget: t.ToTarget, FromTarget: t.FromTarget,
	}
	for why, n := range t.Ended {
		s.Ended[string(why)] = n
	}
	return s
}
