// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package main

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// TestAuditLogAfterATornLine holds that a line without its end spoils no other, whoever has
// left it: this process before it opened the file anew, or the one before it.
func TestAuditLogAfterATornLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	require.NoError(t, os.WriteFile(path, []byte(`{"event":"bro`), 0o600))
	log, err := openAuditLog(path, t.Logf)
	require.NoError(t, err)
	defer func() { log.file.file.Close() }()
	log.write("started")
	_, err = log.file.file.WriteString(`{"event":"bro`)
	require.NoError(t, err)
	log.file.torn = true // as a full disk leaves it
	log.reopen()
	log.reopen()

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	require.Len(t, lines, 5)
	for i, end := range []string{`bro`, `"started"}`, `bro`, `"log-reopened"}`, `"log-reopened"}`} {
		require.True(t, strings.HasSuffix(lines[i], end), "%s", lines[i])
	}
}

// TestAuditTextsHaveAnEnd has a stranger whose names are as long as TLS carries.
func TestAuditTextsHaveAnEnd(t *testing.T) {
	t.Parallel()
	log, path, _ := audit(t)
	long := strings.Repeat("\u00ad", 60000)
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: long}, Issuer: pkix.Name{CommonName: long}, SerialNumber: big.NewInt(1)}
	log.Handshake(hsmtls.HandshakeEvent{Server: true, Err: &peerError{leaf, errors.New(long)}})
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Less(t, len(text), 64<<10)
	require.Contains(t, records(t, path)[0]["peer"], "CN=")
}
