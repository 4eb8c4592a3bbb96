// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

// readAll registers everything that a command has.
func (m *metrics) readAll(r running, own *inventory, paired *pairingTally) {
	m.readBuild()
	m.readHandshakes(r.provider)
	m.readToken(r.token)
	m.readCertificates(own)
	m.readTrust(r.trust)
	if r.terminal != nil {
		m.readPairing(r.terminal, paired)
	}
	if r.tunnel != nil {
		m.readTunnel(r.tunnel)
	}
	if r.audit != nil {
		m.reads(func(emit emitter) { emit("hsmtls_audit_log_missing_records_total", float64(r.audit.missing())) }, "hsmtls_audit_log_missing_records_total")
	}
	if r.open != nil {
		m.reads(func(emit emitter) { emit("hsmtls_serve_open_connections", float64(r.open())) }, "hsmtls_serve_open_connections")
	}
}

func (m *metrics) readBuild() {
	b := thisBuild()
	m.reads(func(emit emitter) { emit("hsmtls_build_info", 1, b.Version, b.Revision, b.Go) }, "hsmtls_build_info")
}

func (m *metrics) readHandshakes(p *hsmtls.Provider) {
	m.reads(func(emit emitter) {
		counts, resumed := m.tally.handshakes()
		for _, kind := range handshakeKinds {
			emit("hsmtls_handshakes_total", float64(counts[kind]), kind.role, kind.outcome, kind.reason)
		}
		for _, role := range tlsRoles {
			emit("hsmtls_resumptions_total", float64(resumed[role]), role)
		}
		a := p.AdmissionCounters()
		emit("hsmtls_admission_holding_handshakes", float64(a.Holding))
		emit("hsmtls_admission_waiting_handshakes", float64(a.Waiting))
		emit("hsmtls_admission_admitted_total", float64(a.Admitted))
		emit("hsmtls_admission_shed_total", float64(a.ShedBusy), "busy")
		emit("hsmtls_admission_shed_total", float64(a.ShedBySource), "source")
	}, "hsmtls_handshakes_total", "hsmtls_resumptions_total", "hsmtls_admission_holding_handshakes",
		"hsmtls_admission_waiting_handshakes", "hsmtls_admission_admitted_total", "hsmtls_admission_shed_total")
}

var tokenStates = []hsm.State{hsm.Ready, hsm.Recovering, hsm.Failed, hsm.Closed}

func (m *metrics) readToken(tok *hsm.Token) {
	m.reads(func(emit emitter) {
		s := tok.Status()
		for _, state := range tokenStates {
			emit("hsmtls_token_state", oneIf(s.State == state), state.String())
		}
		emit("hsmtls_token_state_since_timestamp_seconds", unix(s.Since))
		emit("hsmtls_token_sessions", float64(s.Sessions))
		emit("hsmtls_token_calls_in_flight", float64(s.InFlight))
		emit("hsmtls_token_calls_queued", float64(s.Queued))
		emit("hsmtls_token_calls_hung", float64(s.Hung))
		emit("hsmtls_token_signatures_total", float64(s.Signatures))
		emit("hsmtls_token_shed_calls_total", float64(s.Shed))
		emit("hsmtls_token_abandoned_calls_total", float64(s.Abandoned))
		for code, n := range codesByName(s.Errors) {
			emit("hsmtls_token_errors_total", float64(n), code)
		}
		emit("hsmtls_token_outages_total", float64(s.Outages))
		emit("hsmtls_token_host_kills_total", float64(s.HostKills))
		emit("hsmtls_token_last_outage_duration_seconds", outageTime(s.LastOutage, time.Now()).Seconds())
	}, "hsmtls_token_state", "hsmtls_token_state_since_timestamp_seconds", "hsmtls_token_sessions",
		"hsmtls_token_calls_in_flight", "hsmtls_token_calls_queued", "hsmtls_token_calls_hung",
		"hsmtls_token_signatures_total", "hsmtls_token_shed_calls_total", "hsmtls_token_abandoned_calls_total",
		"hsmtls_token_errors_total", "hsmtls_token_outages_total", "hsmtls_token_host_kills_total", "hsmtls_token_last_outage_duration_seconds")
}

// vendorCode is the first of the values that PKCS#11 leaves to vendors.
const vendorCode = 0x80000000

// usualCodes are counted from the start, others from the first time on. A counter that
// begins with its first event has not risen for Prometheus.
var usualCodes = []uint{
	0x05,  // CKR_GENERAL_ERROR
	0x06,  // CKR_FUNCTION_FAILED
	0x30,  // CKR_DEVICE_ERROR
	0x32,  // CKR_DEVICE_REMOVED
	0xb3,  // CKR_SESSION_HANDLE_INVALID
	0xe0,  // CKR_TOKEN_NOT_PRESENT
	0x101, // CKR_USER_NOT_LOGGED_IN
	0x190, // CKR_CRYPTOKI_NOT_INITIALIZED
}

// codesByName adds up the codes that have no name of their own.
func codesByName(errs map[uint]uint64) map[string]uint64 {
	named := make(map[string]uint64)
	for _, code := range usualCodes {
		named[hsm.CodeName(code)] = 0
	}
	for code, n := range errs {
		name := hsm.CodeName(code)
		if code >= vendorCode {
			name = "vendor code"
		}
		named[name] += n
	}
	return named
}

// outageTime is how long an outage took, or has taken until now.
func outageTime(o hsm.Outage, now time.Time) time.Duration {
	switch {
	case o.Start.IsZero():
		return 0
	case o.End.IsZero():
		return now.Sub(o.Start)
	}
	return o.End.Sub(o.Start)
}

func (m *metrics) readCertificates(own *inventory) {
	m.reads(func(emit emitter) {
		all, err := own.list(context.Background())
		emit("hsmtls_certificates_read", oneIf(err == nil))
		for _, e := range all {
			if !e.NotAfter.IsZero() {
				emit("hsmtls_certificate_expiry_timestamp_seconds", unix(e.NotAfter), e.Alias)
			}
		}
	}, "hsmtls_certificates_read", "hsmtls_certificate_expiry_timestamp_seconds")
}

func (m *metrics) readTrust(trust *truststore.Store) {
	m.reads(func(emit emitter) {
		entries := trust.Entries()
		emit("hsmtls_trust_entries", float64(len(entries)))
		if end := firstEnd(entries); !end.IsZero() {
			emit("hsmtls_trust_expiry_timestamp_seconds", unix(end))
		}
		rejected := make(map[string]int)
		for _, r := range trust.Rejected() {
			rejected[rejectedReason(r.Err)]++
		}
		for _, r := range rejectedReasons {
			emit("hsmtls_trust_rejected_entries", float64(rejected[r.word]), r.word)
		}
		emit("hsmtls_trust_denied_certificates", float64(len(trust.Denied())))
		emit("hsmtls_trust_missing_anchors", float64(len(trust.MissingAnchors())))
		emitCRLs(trust.CRLs(), emit)
	}, "hsmtls_trust_entries", "hsmtls_trust_expiry_timestamp_seconds", "hsmtls_trust_rejected_entries",
		"hsmtls_trust_denied_certificates", "hsmtls_trust_missing_anchors",
		"hsmtls_trust_crl_next_update_timestamp_seconds", "hsmtls_trust_crl_problems")
}

// emitCRLs names issuers by the digits that hsmtls crl list shows.
func emitCRLs(all []truststore.CRL, emit emitter) {
	problems := map[string]int{"stale": 0, "missing": 0, "vanished": 0}
	for _, c := range all {
		if word := crlProblem(c.Err); word != "" {
			problems[word]++
		}
		if !c.NextUpdate.IsZero() {
			emit("hsmtls_trust_crl_next_update_timestamp_seconds", unix(c.NextUpdate), c.ID)
		}
	}
	for word, n := range problems {
		emit("hsmtls_trust_crl_problems", float64(n), word)
	}
}

func crlProblem(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, truststore.ErrNoCRL):
		return "missing"
	case errors.Is(err, truststore.ErrVanished):
		return "vanished"
	}
	return "stale"
}

// firstEnd is when the first entry ends; zero for none.
func firstEnd(entries []truststore.Entry) (end time.Time) {
	for _, e := range entries {
		if at := e.Expiry().Certificate.NotAfter; end.IsZero() || at.Before(end) {
			end = at
		}
	}
	return end
}

var pairingPhases = []pairing.Phase{pairing.PhaseIdle, pairing.PhaseShowing, pairing.PhaseWorking, pairing.PhasePaired, pairing.PhaseBlocked}

func (m *metrics) readPairing(terminal *pairing.Terminal, paired *pairingTally) {
	m.reads(func(emit emitter) {
		c := paired.counts()
		emit("hsmtls_pairing_attempts_total", float64(c[pairing.EventPaired]), "paired")
		emit("hsmtls_pairing_attempts_total", float64(c[pairing.EventWrong]), "wrong_code")
		emit("hsmtls_pairing_attempts_total", float64(c[pairing.EventFailed]), "failed")
		emit("hsmtls_pairing_codes_total", float64(c[pairing.EventCode]))
		emit("hsmtls_pairing_blocks_total", float64(c[pairing.EventBlocked]))
		emit("hsmtls_pairing_renewals_total", float64(c[pairing.EventRenewed]))
		emit("hsmtls_pairing_revocations_total", float64(c[pairing.EventRevoked]))
		emit("hsmtls_pairing_paired_pos", float64(len(terminal.List())))
		emit("hsmtls_pairing_expired_pos", float64(len(terminal.Expired())))
		now := terminal.State().Phase
		for _, phase := range pairingPhases {
			emit("hsmtls_pairing_phase", oneIf(phase == now), phase.String())
		}
	}, "hsmtls_pairing_attempts_total", "hsmtls_pairing_codes_total", "hsmtls_pairing_blocks_total", "hsmtls_pairing_renewals_total",
		"hsmtls_pairing_revocations_total", "hsmtls_pairing_paired_pos", "hsmtls_pairing_expired_pos", "hsmtls_pairing_phase")
}

func (m *metrics) readTunnel(status func() tunnel.Status) {
	m.reads(func(emit emitter) {
		s := status()
		emit("hsmtls_tunnel_open_connections", float64(s.Open))
		emit("hsmtls_tunnel_pending_connections", float64(s.Pending))
		emit("hsmtls_tunnel_accepted_connections_total", float64(s.Accepted))
		for why, n := range s.Ended {
			emit("hsmtls_tunnel_ended_connections_total", float64(n), string(why))
		}
		emit("hsmtls_tunnel_carried_bytes_total", float64(s.ToTarget), "to_target")
		emit("hsmtls_tunnel_carried_bytes_total", float64(s.FromTarget), "from_target")
	}, "hsmtls_tunnel_open_connections", "hsmtls_tunnel_pending_connections", "hsmtls_tunnel_accepted_connections_total",
		"hsmtls_tunnel_ended_connections_total", "hsmtls_tunnel_carried_bytes_total")
}

// unix is a point in time as metrics have it.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
