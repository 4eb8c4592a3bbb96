// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// newAuditHandler writes records as one JSON object a line: time, event, and what there
// is to say. What comes from certificates and peers never steers a terminal.
func newAuditHandler(w io.Writer) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: auditAttr})
}

func auditAttr(_ []string, a slog.Attr) slog.Attr {
	switch {
	case a.Key == slog.LevelKey:
		return slog.Attr{}
	case a.Key == slog.MessageKey:
		a.Key = "event"
	case a.Value.Kind() == slog.KindTime:
		return slog.String(a.Key, a.Value.Time().UTC().Format(time.RFC3339Nano))
	case a.Value.Kind() == slog.KindString:
		return slog.String(a.Key, auditText(a.Value.String()))
	}
	return a
}

// maxAuditText is how long a text in a record may be. A stranger's certificate may have names
// of a quarter of a megabyte.
const maxAuditText = 2 << 10

// auditText is foreign text as a record has it.
func auditText(s string) string {
	if len(s) > maxAuditText {
		s = s[:maxAuditText] + "…"
	}
	return clean(s)
}

// An audited is what the audit log makes of a record that a package logs.
type audited struct {
	event    string
	decision string // empty if nothing was decided
}

// pairingRecords are what package pairing logs for an auditor.
var pairingRecords = map[string]audited{
	"POS paired":                         {"pairing", accepted},
	"setup code refused":                 {"pairing", refused},
	"pairing failed":                     {"pairing", failed},
	"POS certificate renewed":            {"renewal", accepted},
	"renewal failed":                     {"renewal", failed},
	"POS revoked":                        {"revoked", accepted},
	"POS not revoked":                    {"revoked", failed},
	"certificate of POS retired":         {"retired", accepted},
	"certificate of POS not retired":     {"retired", failed},
	"expired certificate of POS removed": {"retired", accepted},
	"connections of unlisted POS closed": {"peers-closed", ""},
	"delivery of certificate confirmed":  {"delivered", ""},
	"journal not written":                {"journal", failed},
	"pairing CA expires soon":            {"certificate-ends", ""},
}

// providerRecords are what a Provider logs, and is no event of its Observer.
var providerRecords = map[string]audited{
	"certificate switched":                               {"certificate-switched", accepted},
	"certificate not switched":                           {"certificate-switched", failed},
	"certificate ends soon":                              {"certificate-ends", ""},
	"connections closed: peers are not trusted any more": {"peers-closed", ""},
}

// auditKeys are the names of the audit log for those of the packages.
var auditKeys = map[string]string{"posId": "pos_id", "source": "address", "notAfter": "not_after"}

// alsoPairing has what package pairing logs written to the audit log too.
func (l *auditLog) alsoPairing(to *slog.Logger) *slog.Logger { return l.also(to, pairingRecords) }

// alsoProvider has what a Provider logs written to the audit log too.
func (l *auditLog) alsoProvider(to *slog.Logger) *slog.Logger { return l.also(to, providerRecords) }

// also is to for no audit log. A nil to goes nowhere else.
func (l *auditLog) also(to *slog.Logger, of map[string]audited) *slog.Logger {
	switch {
	case l == nil:
		return to
	case to == nil:
		return slog.New(&auditRecords{log: l, of: of})
	}
	return slog.New(slog.NewMultiHandler(to.Handler(), &auditRecords{log: l, of: of}))
}

// auditRecords is a handler that writes the records it knows to the audit log.
type auditRecords struct {
	log   *auditLog
	of    map[string]audited
	attrs []slog.Attr
}

func (h *auditRecords) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h *auditRecords) Handle(_ context.Context, r slog.Record) error {
	what, ok := h.of[r.Message]
	if !ok {
		return nil
	}
	attrs := present("decision", what.decision)
	add := func(a slog.Attr) bool {
		attrs = append(attrs, auditedAttrs(a)...)
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	h.log.write(what.event, append(attrs, slog.String("message", r.Message))...)
	return nil
}

// auditedAttrs gives an error its word.
func auditedAttrs(a slog.Attr) []slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		return present("reason", pairingReason(err), "error", err.Error())
	}
	if key, ok := auditKeys[a.Key]; ok {
		a.Key = key
	}
	return []slog.Attr{a}
}

func (h *auditRecords) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &auditRecords{h.log, h.of, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h *auditRecords) WithGroup(string) slog.Handler { return h }

// pairingReason says in a word why something about a POS did not happen.
func pairingReason(err error) string {
	switch {
	case errors.Is(err, pairing.ErrCode):
		return "code"
	case errors.Is(err, pairing.ErrBusy):
		return "busy"
	case ofToken(err):
		return "token"
	case errors.Is(err, pairing.ErrRequest), errors.Is(err, pairing.ErrCSR), errors.Is(err, pairing.ErrPOSID):
		return "request"
	case errors.Is(err, pairing.ErrIssuer), errors.Is(err, pairing.ErrExpiring):
		return "issuer"
	case errors.Is(err, hsmtls.ErrIncomplete):
		return "incomplete"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case ofNetwork(err):
		return "network"
	}
	return "other"
}
