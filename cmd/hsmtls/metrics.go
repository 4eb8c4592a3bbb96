// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// A metric is one name under /metrics. docs/operations.md has the same table.
type metric struct {
	name   string
	kind   string // counter, gauge, histogram
	labels []string
	help   string
}

const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

// metricTable are the metrics of this command. Each command exports those that are
// about something it has.
var metricTable = []metric{
	{"hsmtls_build_info", gauge, []string{"version", "revision", "goversion"}, "Always 1; the labels say what was built."},

	{"hsmtls_signature_duration_seconds", histogram, []string{"alias", "result"}, "Time a handshake waited for a signature, a queue included."},
	{"hsmtls_handshakes_total", counter, []string{"role", "outcome", "reason"}, "Handshakes that have come to their end."},
	{"hsmtls_handshake_duration_seconds", histogram, []string{"role", "outcome"}, "Time from the established network connection to the end of the handshake."},
	{"hsmtls_resumptions_total", counter, []string{"role"}, "Completed handshakes that resumed a session and needed no signature."},
	{"hsmtls_admission_holding_handshakes", gauge, nil, "Server handshakes that hold a place for a signature."},
	{"hsmtls_admission_waiting_handshakes", gauge, nil, "Server handshakes that wait for a place."},
	{"hsmtls_admission_admitted_total", counter, nil, "Server handshakes that were given a place."},
	{"hsmtls_admission_shed_total", counter, []string{"cause"}, "Server handshakes refused for want of a place."},

	{"hsmtls_token_state", gauge, []string{"state"}, "1 for the state the token is in, 0 for the others."},
	{"hsmtls_token_state_since_timestamp_seconds", gauge, nil, "When the token got into its state."},
	{"hsmtls_token_sessions", gauge, nil, "Open sessions, without those of hung calls."},
	{"hsmtls_token_calls_in_flight", gauge, nil, "Calls inside the module, without hung ones."},
	{"hsmtls_token_calls_queued", gauge, nil, "Calls that wait for a session."},
	{"hsmtls_token_calls_hung", gauge, nil, "Calls inside the module that nobody waits for any more."},
	{"hsmtls_token_signatures_total", counter, nil, "Signatures the token has made, for handshakes and for others."},
	{"hsmtls_token_shed_calls_total", counter, nil, "Calls turned away because the queue was full."},
	{"hsmtls_token_abandoned_calls_total", counter, nil, "Calls given up while inside the module."},
	{"hsmtls_token_errors_total", counter, []string{"code"}, "What the module answered instead of CKR_OK."},
	{"hsmtls_token_outages_total", counter, nil, "How often the sessions were lost."},
	{"hsmtls_token_host_kills_total", counter, nil, "Module hosts (--isolate) that were ended because a call hung in them."},
	{"hsmtls_token_last_outage_duration_seconds", gauge, nil, "How long the last outage took, or takes until now."},

	{"hsmtls_certificate_expiry_timestamp_seconds", gauge, []string{"alias"}, "When the identity ends: its certificate or an issuer of it."},
	{"hsmtls_certificates_read", gauge, nil, "1 if the identities on the token could be read lately, else 0."},
	{"hsmtls_trust_entries", gauge, nil, "Trusted entries."},
	{"hsmtls_trust_rejected_entries", gauge, []string{"reason"}, "Objects on the token that are not trusted."},
	{"hsmtls_trust_expiry_timestamp_seconds", gauge, nil, "When the first of the trusted entries ends."},
	{"hsmtls_trust_denied_certificates", gauge, nil, "Certificates on the deny-list."},
	{"hsmtls_trust_missing_anchors", gauge, nil, "Anchors that are expected on the token and are not there."},
	{"hsmtls_trust_crl_next_update_timestamp_seconds", gauge, []string{"issuer"}, "When the CRL of an issuer should be replaced."},
	{"hsmtls_trust_crl_problems", gauge, []string{"problem"}, "CRLs that are stale, missing or vanished."},

	{"hsmtls_pairing_attempts_total", counter, []string{"outcome"}, "Setup codes that were tried."},
	{"hsmtls_pairing_codes_total", counter, nil, "Setup codes that were shown."},
	{"hsmtls_pairing_blocks_total", counter, nil, "How often too many wrong codes ended the showing of codes."},
	{"hsmtls_pairing_renewals_total", counter, nil, "Certificates of POS that were renewed."},
	{"hsmtls_pairing_revocations_total", counter, nil, "POS that were revoked."},
	{"hsmtls_pairing_paired_pos", gauge, nil, "POS that are paired."},
	{"hsmtls_pairing_expired_pos", gauge, nil, "POS whose certificate is out of date."},
	{"hsmtls_pairing_phase", gauge, []string{"phase"}, "1 for what the operator's screen shows, 0 for the others."},

	{"hsmtls_audit_log_missing_records_total", counter, nil, "Records that could not be written to the audit log, and are on standard error."},

	{"hsmtls_serve_open_connections", gauge, nil, "Open connections of serve, those in a handshake included."},
	{"hsmtls_tunnel_open_connections", gauge, nil, "Connections with a place in the tunnel."},
	{"hsmtls_tunnel_pending_connections", gauge, nil, "Connections in the handshake of a tunnel server."},
	{"hsmtls_tunnel_accepted_connections_total", counter, nil, "Connections accepted, those refused later included."},
	{"hsmtls_tunnel_ended_connections_total", counter, []string{"reason"}, "Connections that have ended or were refused."},
	{"hsmtls_tunnel_carried_bytes_total", counter, []string{"direction"}, "Bytes carried, without what TLS and the PROXY protocol add."},
}

func metricNamed(name string) metric {
	for _, m := range metricTable {
		if m.name == name {
			return m
		}
	}
	panic("no row for " + name + " in metricTable")
}

// durations are the limits of the buckets: a signature takes a software token half a
// millisecond, a handshake gives up after 15 seconds.
var durations = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15}

// metrics are what /metrics shows: what observers count, and what is read when
// somebody asks. They are in no registry but their own.
type metrics struct {
	registry   *prometheus.Registry
	tally      *tally
	signatures *prometheus.HistogramVec
	handshakes *prometheus.HistogramVec
	aliases    sync.Map // of which every result is in signatures
}

var _ hsmtls.Observer = (*metrics)(nil)

func newMetrics(t *tally) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(), tally: t,
		signatures: histogramNamed("hsmtls_signature_duration_seconds"),
		handshakes: histogramNamed("hsmtls_handshake_duration_seconds"),
	}
	m.registry.MustRegister(m.signatures, m.handshakes,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func histogramNamed(name string) *prometheus.HistogramVec {
	m := metricNamed(name)
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.name, Help: m.help, Buckets: durations}, m.labels)
}

func (m *metrics) Handshake(e hsmtls.HandshakeEvent) {
	outcome, _ := handshakeReason(e.Err)
	m.handshakes.WithLabelValues(roleOf(e), outcome).Observe(e.Duration.Seconds())
}

func (m *metrics) Signature(e hsmtls.SignatureEvent) {
	alias := label(e.Alias)
	if _, known := m.aliases.LoadOrStore(alias, true); !known { // for what is said at handshakeKinds
		for _, result := range signatureResults {
			m.signatures.WithLabelValues(alias, result)
		}
	}
	m.signatures.WithLabelValues(alias, signatureResult(e.Err)).Observe(e.Duration.Seconds())
}

// label makes foreign text fit for the value of a label.
func label(s string) string { return clean(strings.ToValidUTF8(s, "\uFFFD")) }
