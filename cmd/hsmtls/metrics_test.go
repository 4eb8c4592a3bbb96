// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

func TestHandshakeReason(t *testing.T) {
	t.Parallel()
	verification := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	rejected := func(err error) error {
		return verification(&truststore.Error{Op: "verify", Err: &truststore.RejectedError{Certificate: new(x509.Certificate), Err: err}})
	}
	for _, test := range []struct {
		err           error
		outcome, word string
	}{
		{nil, completed, noReason},
		{&hsmtls.PolicyError{Rule: hsmtls.RuleVersion}, refused, "version"},
		{verification(&hsmtls.PolicyError{Rule: hsmtls.RulePeer}), refused, "no_certificate"},
		{&hsmtls.PolicyError{}, refused, "policy"},
		{&hsmtls.ShedError{}, refused, "shed"},
		{fmt.Errorf("%w: %w", hsmtls.ErrSignTimeout, context.DeadlineExceeded), failed, "sign_timeout"},
		{&hsm.UnavailableError{State: hsm.Recovering, Err: hsm.ErrRemoved}, failed, "token"},
		{&hsm.Error{Op: "C_Sign", Code: 0x30}, failed, "token"},
		{hsm.ErrBusy, failed, "token"},
		{hsm.ErrClosed, failed, "token"},
		{hsmtls.ErrHandshakeTimeout, failed, "timeout"},
		{context.DeadlineExceeded, failed, "timeout"},
		{hsmtls.ErrNotMutual, refused, "not_mutual"},
		{tunnel.ErrNotAllowed, refused, "not_allowed"},
		{rejected(&truststore.RevokedError{Certificate: new(x509.Certificate)}), refused, "revoked"},
		{rejected(truststore.ErrStaleCRL), refused, "crl"},
		{rejected(truststore.ErrNoCRL), refused, "crl"},
		{rejected(truststore.ErrUntrusted), refused, "not_trusted"},
		{rejected(truststore.ErrEmpty), refused, "not_trusted"},
		{rejected(&truststore.RuleError{}), refused, "profile"},
		{rejected(x509.HostnameError{Certificate: new(x509.Certificate)}), refused, "name"},
		{rejected(x509.CertificateInvalidError{Reason: x509.Expired}), refused, "expired"},
		{rejected(x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}), refused, "certificate"},
		{rejected(x509.UnknownAuthorityError{}), refused, "unknown_authority"},
		{verification(errors.New("something else")), refused, "certificate"},
		{hsmtls.ErrIncomplete, failed, "incomplete"},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, failed, "peer_alert"},
		{context.Canceled, failed, "canceled"},
		{tls.RecordHeaderError{}, refused, "protocol"},
		{io.EOF, failed, "network"},
		{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, failed, "network"},
		{errors.New("tls: something that has no name"), refused, "protocol"},
	} {
		outcome, word := handshakeReason(test.err)
		require.Equal(t, [2]string{test.outcome, test.word}, [2]string{outcome, word}, "%v", test.err)
		if test.err != nil {
			wrapped, word := handshakeReason(fmt.Errorf("about: %w", test.err))
			require.Equal(t, [2]string{test.outcome, test.word}, [2]string{wrapped, word}, "wrapped %v", test.err)
		}
	}
}

// TestRuleWords has a word for each rule of the policy.
func TestRuleWords(t *testing.T) {
	t.Parallel()
	n := 0
	for rule := hsmtls.Rule(1); rule.Source() != ""; rule++ {
		n++
		require.NotEmpty(t, ruleWords[rule], "rule %v", rule)
	}
	require.Len(t, ruleWords, n)
}

func TestSignatureResult(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"ok": nil, "timeout": hsmtls.ErrSignTimeout, "unavailable": &hsm.UnavailableError{Err: hsm.ErrRemoved},
		"busy": hsm.ErrBusy, "token": &hsm.Error{Op: "C_Sign", Code: 5}, "canceled": context.Canceled, "error": errors.New("else"),
	} {
		require.Equal(t, want, signatureResult(err))
	}
}

func TestRejectedReason(t *testing.T) {
	t.Parallel()
	of := func(err error) error { return &truststore.RejectedError{Certificate: new(x509.Certificate), Err: err} }
	for want, err := range map[string]error{
		"foreign": truststore.ErrForeign, "marked": truststore.ErrMarked, "ambiguous": truststore.ErrAmbiguous,
		"unofficial": truststore.ErrUnofficial, "public": truststore.ErrPublic, "endorsement": of(truststore.ErrEndorsement),
		"pairing": of(truststore.ErrPairing), "revoked": of(&truststore.RevokedError{Certificate: new(x509.Certificate)}),
		"crl": &truststore.CRLError{Err: truststore.ErrDelta}, "profile": of(&truststore.RuleError{}),
		"expired": of(x509.CertificateInvalidError{Reason: x509.Expired}), "unknown_authority": of(x509.UnknownAuthorityError{}),
		"other": errors.New("else"),
	} {
		require.Equal(t, want, rejectedReason(err))
	}
}

func TestCodesByName(t *testing.T) {
	t.Parallel()
	named := codesByName(map[uint]uint64{0x30: 3, vendorCode + 1: 2, vendorCode + 2: 3, 0x7777: 1})
	maps.DeleteFunc(named, func(_ string, n uint64) bool { return n == 0 })
	require.Equal(t, map[string]uint64{"CKR_DEVICE_ERROR": 3, "vendor code": 5, "unknown code": 1}, named)
}

// TestCountersBeginAtZero: what a handshake, a signature or a call can come to is there
// before it happens, and every kind of it once.
func TestCountersBeginAtZero(t *testing.T) {
	t.Parallel()
	usual := codesByName(nil)
	require.Len(t, usual, len(usualCodes))
	require.Contains(t, usual, "CKR_DEVICE_ERROR")
	require.NotContains(t, usual, hsm.CodeName(0x7777))

	for rule := range ruleWords {
		outcome, word := handshakeReason(&hsmtls.PolicyError{Rule: rule})
		require.Contains(t, handshakeKinds, handshakeKind{clientRole, outcome, word})
	}
	for _, err := range []error{nil, &hsmtls.PolicyError{}, hsmtls.ErrSignTimeout, io.EOF, errors.New("else")} {
		outcome, word := handshakeReason(err)
		require.Contains(t, handshakeKinds, handshakeKind{serverRole, outcome, word})
		require.Contains(t, signatureResults, signatureResult(err))
	}
	require.Len(t, slices.Compact(slices.Clone(handshakeKinds)), len(handshakeKinds))

	m := newMetrics(newTally())
	m.Signature(hsmtls.SignatureEvent{Alias: "terminal"})
	ch := make(chan prometheus.Metric, 2*len(signatureResults))
	m.signatures.Collect(ch)
	require.Len(t, ch, len(signatureResults))
}

// everything is the metrics of a command that has all there is.
func everything(t *testing.T) *metrics {
	t.Helper()
	m := newMetrics(newTally())
	m.readAll(running{terminal: new(pairing.Terminal), tunnel: func() tunnel.Status { return tunnel.Status{} }, open: func() int { return 0 }, audit: &auditLog{file: new(auditFile)}},
		new(inventory), new(pairingTally))
	return m
}

// exported are the names of this command among the metrics.
func exported(t *testing.T) []string {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() {
		everything(t).registry.Describe(descs)
		close(descs)
	}()
	name := regexp.MustCompile(`fqName: "(hsmtls_\w+)"`)
	var names []string
	for d := range descs {
		if m := name.FindStringSubmatch(d.String()); m != nil {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	require.NotEmpty(t, names)
	return names
}

func TestMetricTable(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, m := range metricTable {
		listed = append(listed, m.name)
		require.Equal(t, m.kind == counter, strings.HasSuffix(m.name, "_total"), m.name)
		require.True(t, strings.HasSuffix(m.help, "."), m.name)
	}
	slices.Sort(listed)
	require.Equal(t, exported(t), listed)
}

// TestMetricsOnPage compares docs/operations.md with the metrics.
func TestMetricsOnPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	row := regexp.MustCompile("(?m)^\\| `(hsmtls_\\w+)` \\| (\\w+) \\| (.*?) \\| (.*) \\|$")
	var got, want []string
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[0])
	}
	for _, m := range metricTable {
		want = append(want, m.row())
	}
	require.Equal(t, strings.Join(want, "\n"), strings.Join(got, "\n"))
}

// row is the metric as the page has it.
func (m metric) row() string {
	labels := make([]string, len(m.labels))
	for i, l := range m.labels {
		labels[i] = "`" + l + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |", m.name, m.kind, strings.Join(labels, ", "), m.help)
}

// TestWordsOnPage holds that the page explains every reason that can be a label.
func TestWordsOnPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	require.NoError(t, err)
	for _, all := range [][]errorKind{handshakeReasons, rejectedReasons} {
		for _, r := range all {
			require.Contains(t, string(text), "`"+r.word+"`")
		}
	}
	for _, word := range ruleWords {
		require.Contains(t, string(text), "`"+word+"`")
	}
}

// lint holds what is exported to the conventions of Prometheus.
func lint(t *testing.T, scraped string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(scraped)).Lint()
	require.NoError(t, err)
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "hsmtls_") {
			require.Fail(t, p.Metric, p.Text)
		}
	}
}
