// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package testpki_test

import (
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"
	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// The standards a private CA is held to. The rules of the browsers' forum, such
// as publication in logs, are for public ones.
var lintSources = lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC8813}

func TestLint(t *testing.T) {
	t.Parallel()
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: lintSources})
	require.NoError(t, err)
	root := testpki.NewRoot("root")
	issuing := root.NewIntermediate("issuing")
	for name, cert := range map[string]*x509.Certificate{
		"root":         root.Certificate,
		"intermediate": issuing.Certificate,
		"server":       issuing.Server("host.example.com", "192.0.2.1").Leaf,
		"client":       issuing.Client("till 4").Leaf,
	} {
		parsed, err := zx509.ParseCertificate(cert.Raw)
		require.NoError(t, err)
		result := zlint.LintCertificateEx(parsed, registry)
		require.NotEmpty(t, result.Results)
		for rule, found := range result.Results {
			require.Less(t, int(found.Status), int(lint.Warn), "%s: %s: %s", name, rule, found.Details)
		}
	}
}
