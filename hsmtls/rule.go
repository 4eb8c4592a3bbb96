// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import "fmt"

// Rule names one rule of the TLS policy. The zero Rule is none.
type Rule uint8

// The rules that a peer, a certificate or a [tls.Config] can break.
const (
	RuleRecord               Rule = iota + 1 // well-formed records and messages
	RuleVersion                              // TLS 1.2, and 1.3 if switched on
	RuleCipherSuite                          // ECDHE with an AEAD
	RuleCompression                          // no compression
	RuleRenegotiation                        // renegotiation_info acknowledged, no renegotiation
	RuleExtendedMasterSecret                 // extended master secret
	RuleKeyExchange                          // ECDHE over an allowed named curve
	RuleSignature                            // handshake signatures without SHA-1 and MD5
	RuleCertificateSignature                 // certificate signatures without SHA-1 and MD5
	RuleCertificateKey                       // RSA of 2048 to 8192 bits, or a NIST curve
	RuleCertificateUsage                     // extended key usage fits the role
	RuleChainLength                          // no absurdly long chains
	RulePeer                                 // the peer is authenticated by certificate
	RuleSession                              // resumption is bounded in time and scope
	RuleSecrets                              // no secret leaves the connection
	RuleGODEBUG                              // no run-time setting weakens the above
)

// ruleInfo is what the package knows about a rule: its words, where it comes
// from, and the alert a broken one is answered with (RFC 5246 section 7.2).
type ruleInfo struct {
	text, source string
	alert        uint8
}

// Alerts (RFC 5246 section 7.2).
const (
	alertLevelFatal        = 2
	alertUnexpectedMessage = 10
	alertHandshakeFailure  = 40
	alertUnsupportedCert   = 43
	alertIllegalParameter  = 47
	alertProtocolVersion   = 70
)

var rules = map[Rule]ruleInfo{
	RuleRecord:               {"malformed handshake", "RFC 5246 6.2.1, 7.4", alertUnexpectedMessage},
	RuleVersion:              {"protocol version", "RFC 9325 3.1.1, RFC 8996", alertProtocolVersion},
	RuleCipherSuite:          {"cipher suite", "RFC 9325 4.1, 4.2", alertHandshakeFailure},
	RuleCompression:          {"compression", "RFC 9325 3.3", alertIllegalParameter},
	RuleRenegotiation:        {"renegotiation", "RFC 9325 3.5, RFC 5746 3.4", alertHandshakeFailure},
	RuleExtendedMasterSecret: {"extended master secret", "RFC 9325 3.5, RFC 7627 5.2", alertHandshakeFailure},
	RuleKeyExchange:          {"key exchange", "RFC 9325 4.2.1, RFC 8422 5.4", alertIllegalParameter},
	RuleSignature:            {"handshake signature", "RFC 9155 2, RFC 9325 4.5", alertIllegalParameter},
	RuleCertificateSignature: {"certificate signature", "RFC 9325 4.5", alertUnsupportedCert},
	RuleCertificateKey:       {"certificate key", "RFC 9325 4.5", alertUnsupportedCert},
	RuleCertificateUsage:     {"certificate usage", "RFC 5280 4.2.1.12", alertUnsupportedCert},
	RuleChainLength:          {"chain length", "RFC 5280 6.1", alertUnsupportedCert},
	RulePeer:                 {"peer authentication", "RFC 9325 7.1, RFC 5246 7.4.4", alertHandshakeFailure},
	RuleSession:              {"session resumption", "RFC 9325 3.4, RFC 5246 F.1.4", alertHandshakeFailure},
	RuleSecrets:              {"secrets", "RFC 9325 3.4, 3.10", alertHandshakeFailure},
	RuleGODEBUG:              {"run-time setting", "RFC 9155 2", alertHandshakeFailure},
}

// String returns the rule in words.
func (r Rule) String() string {
	if info, ok := rules[r]; ok {
		return info.text
	}
	return fmt.Sprintf("rule %d", uint8(r))
}

// Source returns the standard and sections the rule comes from, empty for an
// unknown rule.
func (r Rule) Source() string { return rules[r].source }
