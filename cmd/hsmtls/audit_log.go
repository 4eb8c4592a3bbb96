// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// accepted is a decision. The others are the outcomes refused and failed: what has failed
// was not decided, the token, the network or the peer has ended it.
const accepted = "accepted"

// An auditLog is the file that --audit-log names: one JSON object for each decision. It
// is safe for concurrent use. (hsmtls audit is something else: it looks at a server's
// TLS policy.)
//
// Nil is no audit log, and its methods do nothing.
type auditLog struct {
	file *auditFile
	log  *slog.Logger
	vain limiter // of handshakes that came to nothing

	accepted, refused, failed, signatures atomic.Uint64
}

var _ hsmtls.Observer = (*auditLog)(nil)

// openAuditLog opens the file, and begins it if there is none.
func openAuditLog(path string, warn func(format string, args ...any)) (*auditLog, error) {
	file, err := openAuditFile(path, warn)
	if err != nil {
		return nil, err
	}
	return &auditLog{file: file, log: slog.New(newAuditHandler(file))}, nil
}

// Handshake writes who wanted to speak with whom, and what was decided.
func (l *auditLog) Handshake(e hsmtls.HandshakeEvent) {
	outcome, word := handshakeReason(e.Err)
	peer := peerOf(e)
	l.count(outcome)
	if e.Err != nil && !l.vain.pass() {
		return
	}
	l.omitted()
	attrs := present("role", roleOf(e), "alias", e.Alias, "address", e.Address, "name", e.Name)
	if e.Err == nil {
		attrs = append(attrs, slog.String("decision", accepted))
		attrs = append(attrs, agreed(e.Report)...)
	} else {
		attrs = append(attrs, refusedFor(outcome, word, e.Err)...)
	}
	l.write("handshake", append(attrs, identified(peer)...)...)
}

// Signature writes the signatures that were not made, and counts the others: each full
// handshake has its own record.
func (l *auditLog) Signature(e hsmtls.SignatureEvent) {
	if e.Err == nil {
		l.signatures.Add(1)
		return
	}
	attrs := present("alias", e.Alias)
	l.write("signature-refused", append(attrs, refusedFor(failed, signatureResult(e.Err), e.Err)...)...)
}

func (l *auditLog) count(outcome string) {
	switch outcome {
	case completed:
		l.accepted.Add(1)
	case refused:
		l.refused.Add(1)
	default:
		l.failed.Add(1)
	}
}

// omitted says how many records there are not.
func (l *auditLog) omitted() {
	if n := l.vain.take(); n > 0 {
		l.write("handshakes-omitted", slog.Int("count", n))
	}
}

// started, stopped, and what happens to the whole between.
func (l *auditLog) started(r running) {
	if l == nil {
		return
	}
	attrs := present("command", r.command, "alias", r.alias, "version", thisBuild().Version)
	l.write("started", append(attrs, slog.Int("pid", os.Getpid()), slog.Int("entries", len(r.trust.Entries())))...)
}

func (l *auditLog) stopped() {
	if l == nil {
		return
	}
	l.omitted()
	l.write("stopped", slog.Uint64("accepted", l.accepted.Load()), slog.Uint64("refused", l.refused.Load()),
		slog.Uint64("failed", l.failed.Load()), slog.Uint64("signatures", l.signatures.Load()))
}

// reread says how it went when an operator has asked to read the token again.
func (l *auditLog) reread(err error) {
	if l == nil {
		return
	}
	if err != nil {
		_, word := handshakeReason(err)
		l.write("token-read", refusedFor(failed, word, err)...)
		return
	}
	l.write("token-read", slog.String("decision", accepted))
}

// trustChanged says what the trust store holds now.
func (l *auditLog) trustChanged(trust *truststore.Store) {
	if l == nil {
		return
	}
	l.write("trust-changed", slog.Uint64("generation", trust.Generation()), slog.Int("entries", len(trust.Entries())),
		slog.Int("rejected", len(trust.Rejected())))
}

// reopen opens the file anew, for who has moved the old one away.
func (l *auditLog) reopen() {
	if l == nil {
		return
	}
	if err := l.file.reopen(); err == nil {
		l.write("log-reopened")
	}
}

func (l *auditLog) write(event string, attrs ...slog.Attr) {
	l.log.LogAttrs(context.Background(), slog.LevelInfo, event, attrs...)
}

// missing is how many records are not in the file.
func (l *auditLog) missing() uint64 { return l.file.missing() }

// present are the pairs of key and value that have a value.
func present(pairs ...string) (attrs []slog.Attr) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			attrs = append(attrs, slog.String(pairs[i], pairs[i+1]))
		}
	}
	return attrs
}

func refusedFor(decision, word string, err error) []slog.Attr {
	return present("decision", decision, "reason", word, "error", auditText(err.Error()))
}

func agreed(r hsmtls.ConnReport) []slog.Attr {
	attrs := []slog.Attr{
		slog.Bool("resumed", r.Resumed),
		slog.String("version", tls.VersionName(r.Version)),
		slog.String("suite", tls.CipherSuiteName(r.CipherSuite)),
	}
	if r.Entry != nil {
		attrs = append(attrs, slog.String("entry", fingerprintText(r.Entry)))
	}
	return attrs
}

// identified is who a certificate is about.
func identified(c *x509.Certificate) []slog.Attr {
	if c == nil {
		return nil
	}
	return present("peer", auditText(c.Subject.String()), "issuer", auditText(c.Issuer.String()), "serial", c.SerialNumber.Text(16),
		"spki", fmt.Sprintf("%x", sha256.Sum256(c.RawSubjectPublicKeyInfo)), "sha256", fingerprintText(c))
}

// peerOf is the certificate that the peer has presented; nil if it came to none. Of a peer
// that was refused it is a claim.
func peerOf(e hsmtls.HandshakeEvent) *x509.Certificate {
	if e.Err == nil {
		return e.Report.Peer
	}
	if named, ok := errors.AsType[*peerError](e.Err); ok {
		return named.peer
	}
	if unverified, ok := errors.AsType[*tls.CertificateVerificationError](e.Err); ok && len(unverified.UnverifiedCertificates) > 0 {
		return unverified.UnverifiedCertificates[0]
	}
	return nil
}

// A peerError says who was refused by the rules of a tunnel.
type peerError struct {
	peer *x509.Certificate
	error
}

func (e *peerError) Unwrap() error { return e.error }

// nameRefused has the errors of p.VerifyPeer name the peer. It comes after everything that
// changes VerifyPeer, and before the first handshake.
func (l *auditLog) nameRefused(p *hsmtls.Provider) {
	if l == nil || p.VerifyPeer == nil {
		return
	}
	verify := p.VerifyPeer
	p.VerifyPeer = func(cs tls.ConnectionState) error {
		err := verify(cs)
		if err != nil && len(cs.PeerCertificates) > 0 {
			return &peerError{cs.PeerCertificates[0], err}
		}
		return err
	}
}
