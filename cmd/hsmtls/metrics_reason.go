// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/truststore"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

// The outcomes of a handshake.
const (
	completed = "completed"
	refused   = "refused" // we did not accept the peer
	failed    = "failed"  // something else went wrong: token, network, time, or the peer did not accept us
)

// noReason is the reason of what has succeeded.
const noReason = "none"

// An errorKind has a word for errors of one kind. It comes from what an error is, never from
// its text, which a peer may have written.
type errorKind struct {
	outcome, word string
	fits          func(error) bool
}

// handshakeReasons are in order: the first that fits counts. Rules of the policy are
// in ruleWords.
var handshakeReasons = []errorKind{
	{refused, "shed", as[*hsmtls.ShedError]()},
	{failed, "sign_timeout", is(hsmtls.ErrSignTimeout)},
	{failed, "token", ofToken},
	{failed, "timeout", is(hsmtls.ErrHandshakeTimeout)},
	{refused, "not_mutual", is(hsmtls.ErrNotMutual)},
	{refused, "not_allowed", is(tunnel.ErrNotAllowed)},
	{refused, "revoked", as[*truststore.RevokedError]()},
	{refused, "crl", ofCRL},
	{refused, "not_trusted", func(err error) bool {
		return errors.Is(err, truststore.ErrUntrusted) || errors.Is(err, truststore.ErrEmpty)
	}},
	{refused, "profile", as[*truststore.RuleError]()},
	{refused, "name", as[x509.HostnameError]()},
	{refused, "expired", expired},
	{refused, "unknown_authority", as[x509.UnknownAuthorityError]()},
	{refused, "certificate", as[*tls.CertificateVerificationError]()},
	{failed, "incomplete", is(hsmtls.ErrIncomplete)},
	{failed, "peer_alert", alerted},
	{failed, "canceled", is(context.Canceled)},
	{failed, "timeout", is(context.DeadlineExceeded)},
	{refused, "protocol", as[tls.RecordHeaderError]()},
	{failed, "network", ofNetwork},
	{refused, "protocol", func(error) bool { return true }}, // crypto/tls has no names for its own
}

// ruleWords are the reasons of a peer that breaks a rule of the TLS policy.
var ruleWords = map[hsmtls.Rule]string{
	hsmtls.RuleRecord:               "record",
	hsmtls.RuleVersion:              "version",
	hsmtls.RuleCipherSuite:          "cipher_suite",
	hsmtls.RuleCompression:          "compression",
	hsmtls.RuleRenegotiation:        "renegotiation",
	hsmtls.RuleExtendedMasterSecret: "extended_master_secret",
	hsmtls.RuleKeyExchange:          "key_exchange",
	hsmtls.RuleSignature:            "signature",
	hsmtls.RuleCertificateSignature: "certificate_signature",
	hsmtls.RuleCertificateKey:       "certificate_key",
	hsmtls.RuleCertificateUsage:     "certificate_usage",
	hsmtls.RuleChainLength:          "chain_length",
	hsmtls.RulePeer:                 "no_certificate",
	hsmtls.RuleSession:              "session",
	hsmtls.RuleSecrets:              "secrets",
	hsmtls.RuleGODEBUG:              "godebug",
}

// otherRule is a rule without a word.
const otherRule = "policy"

// handshakeReason says in two words what became of a handshake.
func handshakeReason(err error) (outcome, word string) {
	if err == nil {
		return completed, noReason
	}
	if policy, ok := errors.AsType[*hsmtls.PolicyError](err); ok {
		if word, ok := ruleWords[policy.Rule]; ok {
			return refused, word
		}
		return refused, otherRule
	}
	for _, r := range handshakeReasons {
		if r.fits(err) {
			return r.outcome, r.word
		}
	}
	panic("the last reason fits everything")
}

// signatureResults are all words of signatureResult.
var signatureResults = []string{"ok", "timeout", "unavailable", "busy", "token", "canceled", "error"}

// signatureResult says in a word what became of a signature.
func signatureResult(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, hsmtls.ErrSignTimeout):
		return "timeout"
	case as[*hsm.UnavailableError]()(err), errors.Is(err, hsm.ErrClosed):
		return "unavailable"
	case errors.Is(err, hsm.ErrBusy), as[*hsmtls.ShedError]()(err):
		return "busy"
	case as[*hsm.Error]()(err):
		return "token"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "canceled"
	}
	return "error"
}

// rejectedReasons are in order, as handshakeReasons.
var rejectedReasons = []errorKind{
	{word: "foreign", fits: is(truststore.ErrForeign)},
	{word: "marked", fits: is(truststore.ErrMarked)},
	{word: "ambiguous", fits: is(truststore.ErrAmbiguous)},
	{word: "unofficial", fits: is(truststore.ErrUnofficial)},
	{word: "public", fits: is(truststore.ErrPublic)},
	{word: "endorsement", fits: is(truststore.ErrEndorsement)},
	{word: "pairing", fits: is(truststore.ErrPairing)},
	{word: "revoked", fits: as[*truststore.RevokedError]()},
	{word: "crl", fits: func(err error) bool { return ofCRL(err) || as[*truststore.CRLError]()(err) }},
	{word: "profile", fits: as[*truststore.RuleError]()},
	{word: "expired", fits: expired},
	{word: "unknown_authority", fits: as[x509.UnknownAuthorityError]()},
	{word: "other", fits: func(error) bool { return true }},
}

// rejectedReason says in a word why something on the token is not trusted.
func rejectedReason(err error) string {
	for _, r := range rejectedReasons {
		if r.fits(err) {
			return r.word
		}
	}
	panic("the last reason fits everything")
}

func ofToken(err error) bool {
	return as[*hsm.UnavailableError]()(err) || as[*hsm.Error]()(err) || errors.Is(err, hsm.ErrBusy) || errors.Is(err, hsm.ErrClosed)
}

func ofCRL(err error) bool {
	return errors.Is(err, truststore.ErrStaleCRL) || errors.Is(err, truststore.ErrNoCRL)
}

func expired(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// alerted reports whether the peer has ended the handshake with an alert.
func alerted(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" // as crypto/tls has it
}

func ofNetwork(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || as[net.Error]()(err)
}
