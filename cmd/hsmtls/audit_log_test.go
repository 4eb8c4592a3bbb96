// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

// audit is an audit log in a folder of its own.
func audit(t *testing.T) (log *auditLog, path string, said *warnings) {
	t.Helper()
	path, said = filepath.Join(t.TempDir(), "audit.log"), new(warnings)
	log, err := openAuditLog(path, said.add)
	require.NoError(t, err)
	t.Cleanup(func() { log.file.file.Close() })
	return log, path, said
}

// records reads the objects of an audit log.
func records(t *testing.T, path string) (all []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range bytes.Lines(text) {
		var record map[string]any
		require.NoError(t, json.Unmarshal(line, &record), "%s", line)
		_, err := time.Parse(time.RFC3339Nano, record["time"].(string))
		require.NoError(t, err)
		delete(record, "time")
		all = append(all, record)
	}
	return all
}

func TestAuditFileIsSafe(t *testing.T) {
	t.Parallel()
	for name, lay := range map[string]func(path string) error{
		"link":   func(path string) error { return os.Symlink(path+".other", path) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"hard link": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Link(path, path+".other"))
		},
		"writable by group": func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o660)) },
		"writable by all":   func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o602)) },
		"folder of all":     func(path string) error { return os.Chmod(filepath.Dir(path), 0o777) },
	} {
		path := filepath.Join(t.TempDir(), "audit.log")
		require.NoError(t, lay(path), name)
		_, err := openAuditLog(path, nil)
		if name != "folder" && name != "pipe" { // which cannot be opened to begin with
			require.ErrorIs(t, err, errAuditFile, name)
		}
		require.Error(t, err, name)
	}
	_, err := openAuditLog(filepath.Join(t.TempDir(), "absent", "audit.log"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)

	log, path, _ := audit(t)
	log.write("one")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	again, err := openAuditLog(path, nil)
	require.NoError(t, err)
	defer again.file.file.Close()
	again.write("two")
	require.Equal(t, []map[string]any{{"event": "one"}, {"event": "two"}}, records(t, path), "appended")
}

func TestAuditLogOfHandshakes(t *testing.T) {
	t.Parallel()
	log, path, said := audit(t)
	root := testpki.NewRoot("acquirer")
	leaf := root.Client("till\x1b[1m").Leaf
	unverified := func(err error) error {
		return &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{leaf}, Err: err}
	}
	log.Handshake(hsmtls.HandshakeEvent{
		Server: true, Alias: "server_pub", Address: "192.0.2.1:7",
		Report: hsmtls.ConnReport{Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, Resumed: true, Peer: leaf, Entry: root.Certificate},
	})
	log.Handshake(hsmtls.HandshakeEvent{Alias: "terminal_pub", Address: "192.0.2.2:8443", Name: "host.example", Err: unverified(truststore.ErrUntrusted)})
	log.Handshake(hsmtls.HandshakeEvent{Server: true, Alias: "server_pub", Err: &peerError{leaf, tunnel.ErrNotAllowed}})
	log.Handshake(hsmtls.HandshakeEvent{Server: true, Alias: "server_pub", Err: fmt.Errorf("line\nbreak: %w", io.EOF)})
	log.Signature(hsmtls.SignatureEvent{Alias: "server_pub"})
	log.Signature(hsmtls.SignatureEvent{Alias: "server_pub", Err: &hsm.UnavailableError{State: hsm.Failed, Err: hsm.ErrPIN}})
	log.stopped()

	who := identified(leaf)
	expect := func(record map[string]any, about bool) map[string]any {
		for _, a := range who {
			if about {
				record[a.Key] = a.Value.String()
			}
		}
		return record
	}
	all := records(t, path)
	require.Contains(t, all[1]["error"], truststore.ErrUntrusted.Error())
	require.NotEmpty(t, all[4]["error"])
	delete(all[1], "error")
	delete(all[4], "error")
	require.Equal(t, []map[string]any{
		expect(map[string]any{
			"event": "handshake", "role": "server", "alias": "server_pub", "address": "192.0.2.1:7", "decision": "accepted",
			"resumed": true, "version": "TLS 1.2", "suite": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "entry": fingerprintText(root.Certificate),
		}, true),
		expect(map[string]any{
			"event": "handshake", "role": "client", "alias": "terminal_pub", "address": "192.0.2.2:8443", "name": "host.example",
			"decision": "refused", "reason": "not_trusted",
		}, true),
		expect(map[string]any{
			"event": "handshake", "role": "server", "alias": "server_pub", "decision": "refused", "reason": "not_allowed",
			"error": tunnel.ErrNotAllowed.Error(),
		}, true),
		{"event": "handshake", "role": "server", "alias": "server_pub", "decision": "failed", "reason": "network", "error": "line; break: EOF"},
		{"event": "signature-refused", "alias": "server_pub", "decision": "failed", "reason": "unavailable"},
		{"event": "stopped", "accepted": 1., "refused": 2., "failed": 1., "signatures": 1.},
	}, all)
	require.NotContains(t, all[0]["peer"], "\x1b")
	require.Len(t, all[0]["spki"], 64)
	require.Equal(t, leaf.SerialNumber.Text(16), all[0]["serial"])
	require.Empty(t, said.text())
}

// TestAuditLogOfStrangers holds that whoever is not accepted cannot fill the disk, with a
// certificate or without, and that what is left out is counted.
func TestAuditLogOfStrangers(t *testing.T) {
	t.Parallel()
	log, path, _ := audit(t)
	at := time.Unix(1000, 0)
	log.vain.now = func() time.Time { return at }
	stranger := testpki.NewRoot("stranger").Client("stranger").Leaf
	for i := range 3 * vainRecords {
		log.Handshake(hsmtls.HandshakeEvent{Server: true, Err: []error{io.EOF, unaccepted(stranger)}[i%2]})
	}
	require.Len(t, records(t, path), vainRecords)
	log.Handshake(hsmtls.HandshakeEvent{Report: hsmtls.ConnReport{Peer: testpki.NewRoot("x").Client("till").Leaf}})
	all := records(t, path)
	require.Equal(t, map[string]any{"event": "handshakes-omitted", "count": 2. * vainRecords}, all[vainRecords])
	require.Equal(t, accepted, all[vainRecords+1]["decision"], "a peer that is accepted has its record")
	at = at.Add(time.Second)
	log.Handshake(hsmtls.HandshakeEvent{Server: true, Err: io.EOF})
	require.Len(t, records(t, path), vainRecords+3)
}

// TestAuditLogThatCannotBeWritten holds that the service goes on, and no record is lost.
func TestAuditLogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	log, path, said := audit(t)
	good := log.file.file
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) { // not on Linux
		full, err = os.Open(path) // not for writing
	}
	require.NoError(t, err)
	defer full.Close()
	log.file.file = full
	log.write("first")
	log.write("second")
	require.Equal(t, 1, strings.Count(said.text(), "cannot be written"), "said once")
	require.Contains(t, said.text(), `"event":"first"`)
	require.Contains(t, said.text(), `"event":"second"`)
	require.EqualValues(t, 2, log.file.missing())
	log.file.file = good
	log.write("third")
	require.Contains(t, said.text(), "can be written again")
	require.Equal(t, []map[string]any{{"event": "third"}}, records(t, path))

	log.file.torn = true // the disk was full in the middle of a line
	log.write("fourth")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), "\n\n{")
}

func TestAuditLogReopens(t *testing.T) {
	t.Parallel()
	log, path, said := audit(t)
	log.write("before")
	require.NoError(t, os.Rename(path, path+".1"))
	log.write("between")
	log.reopen()
	log.write("after")
	require.Equal(t, []map[string]any{{"event": "before"}, {"event": "between"}}, records(t, path+".1"))
	require.Equal(t, []map[string]any{{"event": "log-reopened"}, {"event": "after"}}, records(t, path))

	require.NoError(t, os.Rename(path, path+".2"))
	require.NoError(t, os.Symlink(path+".1", path))
	log.reopen()
	log.write("last")
	require.Contains(t, said.text(), "the old file stays")
	require.Len(t, records(t, path+".2"), 3)
	require.Len(t, records(t, path+".1"), 2)
}

// TestAuditLogOfPackages holds the table to what the packages log.
func TestAuditLogOfPackages(t *testing.T) {
	t.Parallel()
	for dir, table := range map[string]map[string]audited{"pairing": pairingRecords, "hsmtls": providerRecords} {
		sources, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		require.NoError(t, err)
		var all []byte
		for _, source := range sources {
			text, err := os.ReadFile(source)
			require.NoError(t, err)
			if !strings.HasSuffix(source, "_test.go") {
				all = append(all, text...)
			}
		}
		for message := range table {
			require.Contains(t, string(all), fmt.Sprintf("%q", message), "package %s does not log it", dir)
		}
	}
}

func TestAuditLogOfPairing(t *testing.T) {
	t.Parallel()
	log, path, _ := audit(t)
	var shown bytes.Buffer
	logger := log.alsoPairing(slog.New(slog.NewTextHandler(&shown, nil))).With(slog.String("posId", "till-1"))
	logger.Warn("setup code refused", slog.Any("reason", fmt.Errorf("x: %w", pairing.ErrCode)), slog.String("source", "192.0.2.1:7"))
	logger.Info("POS paired", slog.Time("notAfter", time.Unix(0, 0)))
	logger.Info("nothing an auditor wants to know")
	logger.Debug("POS paired")
	require.Equal(t, []map[string]any{
		{
			"event": "pairing", "decision": "refused", "reason": "code", "error": "x: " + pairing.ErrCode.Error(),
			"pos_id": "till-1", "address": "192.0.2.1:7", "message": "setup code refused",
		},
		{"event": "pairing", "decision": "accepted", "pos_id": "till-1", "not_after": "1970-01-01T00:00:00Z", "message": "POS paired"},
	}, records(t, path))
	require.Contains(t, shown.String(), "nothing an auditor wants to know", "the log of before has all")
	require.NotNil(t, log.alsoProvider(nil))
}

func TestPairingReasons(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"code": pairing.ErrCode, "busy": pairing.ErrBusy, "request": pairing.ErrCSR, "issuer": pairing.ErrIssuer,
		"token": hsm.ErrClosed, "network": io.ErrUnexpectedEOF, "incomplete": hsmtls.ErrIncomplete, "other": errors.New("x"),
	} {
		require.Equal(t, want, pairingReason(fmt.Errorf("pairing: %w", err)))
	}
}

// TestNoAuditLog holds that there need be none.
func TestNoAuditLog(t *testing.T) {
	t.Parallel()
	var log *auditLog
	p := &hsmtls.Provider{}
	log.started(running{})
	log.reread(io.EOF)
	log.trustChanged(nil)
	log.reopen()
	log.nameRefused(p)
	log.stopped()
	require.Nil(t, log.alsoPairing(nil))
	require.Nil(t, p.VerifyPeer)
}

// TestAuditLogInAHurry holds that lines do not mix.
func TestAuditLogInAHurry(t *testing.T) {
	t.Parallel()
	log, path, _ := audit(t)
	var working sync.WaitGroup
	for range 8 {
		working.Go(func() {
			for range 50 {
				log.reread(io.EOF)
			}
		})
	}
	working.Go(func() {
		for range 20 {
			log.reopen()
		}
	})
	working.Wait()
	require.Len(t, records(t, path), 8*50+20)
}

func TestAuditLogNamesRefused(t *testing.T) {
	t.Parallel()
	log, _, _ := audit(t)
	leaf := testpki.NewRoot("acquirer").Client("till").Leaf
	p := &hsmtls.Provider{VerifyPeer: func(tls.ConnectionState) error { return tunnel.ErrNotAllowed }}
	log.nameRefused(p)
	err := p.VerifyPeer(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
	require.ErrorIs(t, err, tunnel.ErrNotAllowed)
	require.Equal(t, leaf, peerOf(hsmtls.HandshakeEvent{Err: fmt.Errorf("wrapped: %w", err)}))
	require.ErrorIs(t, p.VerifyPeer(tls.ConnectionState{}), tunnel.ErrNotAllowed)
	log.nameRefused(new(hsmtls.Provider))
}

// unaccepted is the error of a handshake with a peer that is not trusted.
func unaccepted(leaf *x509.Certificate) error {
	return &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{leaf}, Err: x509.UnknownAuthorityError{Cert: leaf}}
}
