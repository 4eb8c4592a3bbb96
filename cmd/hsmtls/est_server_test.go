// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/x509"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// cmdEST serves EST until the script ends:
//
//	est NAME HOSTCA CA [LABEL]    $NAME is its host and port; its certificate is
//	                              of HOSTCA, it issues certificates of CA, each of
//	                              which ends a day after the last; it admits t-0042
//	                              with the password "secret"
func cmdEST(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: est NAME HOSTCA CA [LABEL]")
	}
	cas := ts.Value(pkiKey{}).(pki)
	hosts, ca := cas[args[1]], cas[args[2]]
	if hosts == nil || ca == nil {
		ts.Fatalf("no CA %q or %q", args[1], args[2])
	}
	var issued atomic.Int64
	e := &testpki.EST{CA: ca, User: "t-0042", Password: "secret", Label: strings.Join(args[3:], "")}
	e.Issue = func(csr *x509.CertificateRequest) *x509.Certificate {
		template := testpki.ClientTemplate("x")
		template.Subject, template.DNSNames = csr.Subject, csr.DNSNames
		template.NotAfter = time.Now().Add(366*24*time.Hour + time.Duration(issued.Add(1))*24*time.Hour)
		return ca.Issue(template, csr.PublicKey)
	}
	server := httptest.NewUnstartedServer(e)
	server.TLS = e.TLSConfig(hosts.Server("127.0.0.1"))
	server.StartTLS()
	ts.Defer(server.Close)
	ts.Setenv(args[0], strings.TrimPrefix(server.URL, "https://"))
}

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestRenewalDocumentation holds that every command of docs/renewal.md is run, as it
// stands there, by a script.
func TestRenewalDocumentation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "renewal.md"))
	require.NoError(t, err)
	var run string
	for _, name := range []string{"renew.txt", "est.txt"} {
		script, err := os.ReadFile(filepath.Join("testdata", "script", name))
		require.NoError(t, err)
		run += string(script)
	}
	blocks := shellBlock.FindAllSubmatch(page, -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		text := strings.ReplaceAll(string(block[1]), "\\\n ", "")
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			line = strings.Join(strings.Fields(strings.ReplaceAll(line, "https://est.example:8443", "https://$EST")), " ")
			require.Contains(t, run, "exec "+line+"\n")
		}
	}
}
