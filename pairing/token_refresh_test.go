// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package pairing_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// TestRefreshFromToken has another program, with stores of its own, revoke a POS
// and renew the certificate of a terminal that is running.
func TestRefreshFromToken(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	root := testpki.NewRoot("vendor root")
	vendor := root.NewIntermediate("vendor CA")
	cfg := hsmtest.Config(t)
	tok := hsmtest.Open(t, cfg)
	provision(t, tok, vendor)
	d := boot(t, tok, vendor, root.Certificate, "")
	trust := d.Provider.Trust.(*truststore.Store)
	keys := d.Provider.Keys.(*keystore.Store)
	c := d.client(t, "https", root.Certificate)
	bundles := map[string]*pairing.Bundle{}
	for _, id := range []string{"1", "2"} {
		require.NoError(t, d.GenerateCode())
		b, err := c.Pair(ctx, pairing.Request{POSID: id, Code: d.State().Code})
		require.NoError(t, err)
		bundles[id] = b
	}
	revoked, other := d.webSocket(t, c, bundles["1"]), d.webSocket(t, c, bundles["2"])

	elsewhere := hsmtest.Open(t, cfg)
	list := assemble(t, elsewhere, root.Certificate, "")
	require.Len(t, list.List(), 2)
	require.NoError(t, list.Revoke(ctx, "1"))
	require.Len(t, d.List(), 2, "it does not know yet")
	require.NoError(t, trust.Refresh(ctx))
	d.Recheck()
	require.Len(t, d.List(), 1)
	_, _, err := revoked.Read(ctx)
	require.Error(t, err)
	_, err = d.greeting(t, c, bundles["1"])
	require.Error(t, err)
	require.NoError(t, other.Ping(other.CloseRead(ctx)))

	before := d.presented(t, c, bundles["2"])
	template := testpki.ServerTemplate(deviceName)
	renewed := vendor.Issue(template, before.PublicKey)
	require.NoError(t, keystore.New(elsewhere).Replace(ctx, "terminal_pub", append([]*x509.Certificate{renewed}, vendor.Chain()...)))
	require.True(t, before.Equal(d.presented(t, c, bundles["2"])))
	require.NoError(t, keys.Refresh(ctx))
	require.NoError(t, d.Refresh(ctx))
	require.True(t, renewed.Equal(d.presented(t, c, bundles["2"])))
	require.Equal(t, deviceName, d.Details().Name)
	require.NoError(t, other.Ping(ctx), "open connections go on")
}

// presented is the certificate that a POS sees.
func (d *device) presented(t *testing.T, c *pairing.Client, b *pairing.Bundle) *x509.Certificate {
	t.Helper()
	conn, err := c.Dial(t.Context(), b)
	require.NoError(t, err)
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// TestBundleIntoKeystore has a POS keep all that it gets in its own token.
func TestBundleIntoKeystore(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	root := testpki.NewRoot("vendor root")
	vendor := root.NewIntermediate("vendor CA")
	tok := hsmtest.Token(t)
	provision(t, tok, vendor)
	d := boot(t, tok, vendor, root.Certificate, "")
	posToken := hsmtest.Token(t)
	keys := keystore.New(posToken)
	key, err := keys.Generate(ctx, "till", keystore.P256)
	require.NoError(t, err)
	require.NoError(t, d.GenerateCode())
	c := d.client(t, "wss", root.Certificate)
	b, err := c.Pair(ctx, pairing.Request{POSID: "till", Code: d.State().Code, Key: key})
	require.NoError(t, err)
	require.NoError(t, keys.Inject(ctx, "till_pub", "till", b.Chain))

	trust, err := truststore.Open(ctx, posToken, truststore.Config{Anchors: truststore.Anchors{Vendor: []*x509.Certificate{b.Root}}})
	require.NoError(t, err)
	_, err = trust.Inject(ctx, "terminal", b.Root)
	require.NoError(t, err)
	p := &hsmtls.Provider{Keys: keystore.New(posToken), Trust: trust}
	conn, err := (&hsmtls.Dialer{Provider: p, Alias: "till_pub", ServerName: deviceName}).DialContext(ctx, "tcp", d.addr)
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	i, err := keystore.New(posToken).Identity(ctx, "till_pub") // after a restart
	require.NoError(t, err)
	text, err := d.greeting(t, c, &pairing.Bundle{Key: i.Key, Chain: i.Chain, Root: b.Root})
	require.NoError(t, err)
	require.Equal(t, "hello till", text)
}
