// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/tls"
	"io"
	"strconv"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// A handshake is what dial --report adds to its report. JSON has these fields.
type handshake struct {
	Version              string        `json:"version"`
	Suite                string        `json:"suite"`
	Curve                string        `json:"curve"`
	ServerSignature      string        `json:"server_signature"` // empty if none was seen
	ClientSignature      string        `json:"client_signature"`
	ExtendedMasterSecret bool          `json:"extended_master_secret"`
	Resumed              bool          `json:"resumed"`
	Age                  float64       `json:"age"` // of the full handshake, in seconds
	Alias                string        `json:"alias"`
	Peer                 certificate   `json:"peer"`
	Chain                []certificate `json:"chain"` // as it was accepted, the peer first
	Entry                *entryOfPeer  `json:"entry"`
}

// An entryOfPeer is what made a peer trusted.
type entryOfPeer struct {
	Alias       string      `json:"alias"`
	Certificate certificate `json:"certificate"`
}

const handshakeHelp = `(version, suite, curve, server_signature, client_signature, extended_master_secret,
resumed, age in seconds of the full handshake, alias, peer, chain, entry: alias and
certificate), else null`

// describeHandshake is nil unless the complete report is wanted.
func describeHandshake(wanted bool, seen hsmtls.ConnReport, trust *truststore.Store) *handshake {
	if !wanted {
		return nil
	}
	return &handshake{
		Version:              tls.VersionName(seen.Version),
		Suite:                tls.CipherSuiteName(seen.CipherSuite),
		Curve:                seen.Curve.String(),
		ServerSignature:      scheme(seen.ServerSignature),
		ClientSignature:      scheme(seen.ClientSignature),
		ExtendedMasterSecret: seen.ExtendedMasterSecret,
		Resumed:              seen.Resumed,
		Age:                  seen.HandshakeAge.Seconds(),
		Alias:                seen.Alias,
		Peer:                 describe(seen.Peer),
		Chain:                describeAll(seen.Chain),
		Entry:                &entryOfPeer{entryAlias(trust, seen.Entry), describe(seen.Entry)},
	}
}

func scheme(s tls.SignatureScheme) string {
	if s == 0 {
		return ""
	}
	return s.String()
}

// print does nothing for nil.
func (h *handshake) print(w io.Writer) {
	if h == nil {
		return
	}
	age := time.Duration(h.Age * float64(time.Second)).Round(time.Millisecond)
	rows := [][]string{
		{"version", h.Version},
		{"suite", h.Suite},
		{"curve", h.Curve},
		{"server signature", cell(h.ServerSignature)},
		{"client signature", cell(h.ClientSignature)},
		{"extended master secret", yesNo(h.ExtendedMasterSecret)},
		{"resumed", yesNo(h.Resumed)},
		{"full handshake", age.String() + " ago"},
		{"alias", cell(h.Alias)},
		{"peer", cell(h.Peer.Subject)},
		{"peer names", joined(h.Peer.Names)},
		{"peer key", h.Peer.Key},
	}
	for i, c := range h.Chain {
		rows = append(rows, []string{"chain " + strconv.Itoa(i+1), cell(c.Subject) + ", " + c.Key + ", " + c.Signature + ", until " + date(c.NotAfter)})
	}
	rows = append(rows,
		[]string{"entry", cell(h.Entry.Alias) + ", " + cell(h.Entry.Certificate.Subject)},
		[]string{"entry sha256", h.Entry.Certificate.Fingerprint})
	table(w, "FIELD|VALUE", rows)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
