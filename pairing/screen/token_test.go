// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package screen_test

import (
	"crypto/x509"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// newTokenTerminal is served like newTerminal, and has its own key, that of the
// pairing CA, and the list of paired POS on a token.
func newTokenTerminal(t *testing.T, now func() time.Time) *pairing.Terminal {
	t.Helper()
	vendor, tok := testpki.NewRoot("vendor"), hsmtest.Token(t)
	keys := keystore.New(tok)
	inject(t, keys, vendor)
	caKey, err := keys.Generate(t.Context(), "pairing CA", keystore.P256)
	require.NoError(t, err)
	issuer := newIssuer(t, caKey)
	trust := openTrust(t, tok, vendor.Certificate, issuer.Chain[1])
	terminal := &pairing.Terminal{
		Issuer:   issuer,
		Registry: &truststore.Clients{Store: trust},
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }),
		Provider: &hsmtls.Provider{Keys: keys, Trust: trust},
		Alias:    "terminal_pub", Root: vendor.Certificate, Now: now,
	}
	serve(t, terminal)
	return terminal
}

func inject(t *testing.T, keys *keystore.Store, vendor *testpki.CA) {
	t.Helper()
	key, err := keys.Generate(t.Context(), "terminal", keystore.P256)
	require.NoError(t, err)
	leaf := vendor.Issue(testpki.ServerTemplate("12345678.terminal.test"), key.Public())
	require.NoError(t, keys.Inject(t.Context(), "terminal_pub", "terminal", append([]*x509.Certificate{leaf}, vendor.Chain()...)))
}

func openTrust(t *testing.T, tok *hsm.Token, vendor, pos *x509.Certificate) *truststore.Store {
	t.Helper()
	trust, err := truststore.Open(t.Context(), tok, truststore.Config{Anchors: truststore.Anchors{
		Vendor: []*x509.Certificate{vendor}, Pairing: []*x509.Certificate{pos},
	}})
	require.NoError(t, err)
	return trust
}
