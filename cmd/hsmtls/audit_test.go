// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// canned answers every connection with the same bytes, and none after some;
// nothing is ever negotiated. It returns its address.
func canned(t *testing.T, answer []byte, answers int) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var done sync.WaitGroup
	t.Cleanup(func() { ln.Close(); done.Wait() })
	done.Go(func() {
		for ; ; answers-- {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			if answers > 0 {
				_, _ = conn.Write(answer)
			}
			conn.Close()
		}
	})
	return ln.Addr().String()
}

// vector24 is a handshake message or certificate with its length.
func vector24(body []byte) []byte { return append([]byte{byte(len(body) >> 16)}, vector16(body)...) }

func handshakeMessage(typ byte, body ...byte) []byte { return append([]byte{typ}, vector24(body)...) }

// recklessFlight is a server's that accepts all: TLS 1.2, compression, MD5.
func recklessFlight() []byte {
	hello := append(u16(nil, tls.VersionTLS12), make([]byte, 32)...)
	hello = append(hello, 0)                                                // session
	hello = append(u16(hello, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA), 1, 0, 0) // deflate, no extensions
	kx := append([]byte{3, 0, 23, 1, 4}, u16(nil, 0x0101, 0)...)            // P-256, no point to speak of, MD5
	all := bytes.Join([][]byte{
		handshakeMessage(msgServerHello, hello...),
		handshakeMessage(msgCertificate, vector24(nil)...),
		handshakeMessage(msgServerKeyExchange, kx...),
		handshakeMessage(msgServerHelloDone),
	}, nil)
	return append([]byte{recordHandshake, 3, 3}, vector16(all)...)
}

func auditorOf(addr string) *auditor {
	return &auditor{prober: prober{addr: addr, step: func() {}}}
}

// TestAuditFindsEverything audits a server that keeps no rule at all.
func TestAuditFindsEverything(t *testing.T) {
	t.Parallel()
	a := auditorOf(canned(t, recklessFlight(), 1000))
	require.NoError(t, a.run(t.Context()))
	broken := make(map[string]bool)
	for _, v := range a.verdicts {
		kept := v.Result == "pass" && (strings.HasPrefix(v.Detail, "accepts TLS") || v.Rule == hsmtls.RuleChainLength.String())
		require.True(t, kept || v.Result != "pass", "%+v", v)
		broken[v.Rule] = broken[v.Rule] || v.Result == "fail"
	}
	for _, r := range []hsmtls.Rule{hsmtls.RuleVersion, hsmtls.RuleCipherSuite, hsmtls.RuleCompression, hsmtls.RuleRenegotiation,
		hsmtls.RuleExtendedMasterSecret, hsmtls.RuleKeyExchange, hsmtls.RuleSignature, hsmtls.RulePeer} {
		require.True(t, broken[r.String()], "%v", r)
	}
}

// TestAuditNeedsAServer holds that a server which refuses everything passes
// nothing, be it at once or in the middle of the audit.
func TestAuditNeedsAServer(t *testing.T) {
	t.Parallel()
	require.ErrorIs(t, auditorOf(canned(t, nil, 0)).run(t.Context()), errNoTLS)
	require.ErrorIs(t, auditorOf(canned(t, recklessFlight(), 5)).run(t.Context()), errUnsteady)
	endless := bytes.Repeat([]byte{recordHandshake, 3, 3, 0, 1, 0}, maxFlight)
	require.ErrorIs(t, auditorOf(canned(t, endless, 1)).run(t.Context()), errLongFlight)
}

// TestAuditOfTicketLifetimes judges what no server here says.
func TestAuditOfTicketLifetimes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		flight   flight
		accepted bool
		want     string
	}{
		{"not accepted", flight{}, false, "info"},
		{"no ticket", flight{}, true, "pass"},
		{"no hint", flight{ticket: true}, true, "info"},
		{"a day", flight{ticket: true, lifetime: 86400}, true, "pass"},
		{"more than a day", flight{ticket: true, lifetime: 86401}, true, "fail"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var a auditor
			a.tickets(tt.flight, tt.accepted)
			require.Equal(t, tt.want, a.verdicts[0].Result)
		})
	}
}

// TestAuditOfGnuTLS audits a server without what RFC 9325 section 3.5 demands.
func TestAuditOfGnuTLS(t *testing.T) {
	t.Parallel()
	addr := gnutlsServer(t, "NORMAL:-VERS-ALL:+VERS-TLS1.2:%DISABLE_SAFE_RENEGOTIATION:%NO_SESSION_HASH")
	var out, errs bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), []string{"audit", addr}, strings.NewReader(""), &out, &errs), "%s", &errs)
	require.Regexp(t, `(?m)^renegotiation +fail +does not acknowledge renegotiation_info `, out.String())
	require.Regexp(t, `(?m)^extended master secret +fail +does not support it `, out.String())
	require.Regexp(t, `(?m)^peer authentication +pass +requests a client certificate `, out.String())
}

// gnutlsServer starts gnutls-serv with a certificate of its own.
func gnutlsServer(t *testing.T, priority string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "host")
	pair := testpki.NewRoot("acquirer").Server("host.example")
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file+".pem", testpki.PEM(pair.Leaf), 0o600))
	require.NoError(t, os.WriteFile(file+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	return hsmtest.GnuTLSServer(t, "--x509certfile", file+".pem", "--x509keyfile", file+".key", "--require-client-cert", "--priority", priority)
}

// FuzzFlight holds that no server can make the parser fail, or see more in a
// part of what it says than in all of it.
func FuzzFlight(f *testing.F) {
	f.Add(recklessFlight())
	f.Add([]byte{recordAlert, 3, 3, 0, 2, 2, 40})
	f.Fuzz(func(t *testing.T, b []byte) {
		var all, part flight
		all.read(b)
		part.read(b[:len(b)/2])
		if part.hello {
			require.True(t, all.hello)
		}
	})
}
