// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestRootForms(t *testing.T) {
	t.Parallel()
	a, b := testpki.NewRoot("a").Certificate, testpki.NewRoot("b").Certificate
	document, err := RootJSON(a, b)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(document, []byte(`{"certificateChain":"-----BEGIN CERTIFICATE-----\n`)))
	text := RootPEM(a, b)
	for name, text := range map[string][]byte{
		"PEM": text, "JSON": document, "CRLF": bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"JSON with more": bytes.Replace(document, []byte("{"), []byte(`{ "x":1, `), 1),
	} {
		root, err := ParseRoot(text)
		require.NoError(t, err, name)
		require.Equal(t, []*x509.Certificate{a, b}, root.certs, name)
	}
	for name, text := range map[string]string{
		"empty": "", "empty JSON": "{}", "bad JSON": "{", "no PEM": "x", "no CA": string(testpki.PEM(testpki.NewRoot("c").Server().Leaf)),
		"key": strings.ReplaceAll(string(text), "CERTIFICATE", "PUBLIC KEY"), "more": string(text) + "x", "long": strings.Repeat(" ", maxRoots+1),
		"bad DER": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		_, err := ParseRoot([]byte(text))
		require.ErrorIs(t, err, ErrRoot, name)
	}
	_, err = RootOf(nil)
	require.ErrorIs(t, err, ErrRoot)
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	c := testpki.NewRoot("a").Certificate
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	colons := strings.ToUpper(net.HardwareAddr(sum[:]).String())
	for _, text := range []string{
		Fingerprint(c), hex.EncodeToString(sum[:]), colons, "sha256:" + colons, base64.StdEncoding.EncodeToString(sum[:]),
		"sha256/" + base64.StdEncoding.EncodeToString(sum[:]), base64.RawURLEncoding.EncodeToString(sum[:]), " " + Fingerprint(c) + "\n",
	} {
		root, err := ParseFingerprint(text)
		require.NoError(t, err, text)
		require.Equal(t, sum, *root.pin)
	}
	for _, text := range []string{"", "sha256:", "00", hex.EncodeToString(sum[1:]), "sha1:" + hex.EncodeToString(sum[:]), strings.Repeat("z", 64)} {
		_, err := ParseFingerprint(text)
		require.ErrorIs(t, err, ErrRoot, text)
	}
}

func TestRootHandler(t *testing.T) {
	t.Parallel()
	c := testpki.NewRoot("a").Certificate
	h := RootHandler(c)
	document, err := RootJSON(c)
	require.NoError(t, err)
	for _, test := range []struct {
		path, accept, media string
		body                []byte
	}{
		{"/root", "", "application/json", document},
		{"/root", "application/json", "application/json", document},
		{"/root", "application/x-pem-file", "application/x-pem-file", RootPEM(c)},
		{"/root?format=pem", "", "application/x-pem-file", RootPEM(c)},
	} {
		reply := ask(h, "GET", test.path, "", header("Accept", test.accept))
		require.Equal(t, http.StatusOK, reply.Code)
		require.Equal(t, test.media, reply.Header().Get("Content-Type"))
		require.Equal(t, test.body, reply.Body.Bytes())
	}
	requireRefusal(t, ask(h, "POST", "/root", ""), http.StatusMethodNotAllowed)
	requireRefusal(t, ask(RootHandler(), "GET", "/root", ""), http.StatusInternalServerError)
}

func TestReachable(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"127.0.0.1:1"}, reachable(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 1}))
	for _, ip := range []net.IP{net.IPv4zero.To4(), net.IPv6zero} {
		for _, a := range reachable(&net.TCPAddr{IP: ip, Port: 8443}) {
			addr, err := netip.ParseAddrPort(a)
			require.NoError(t, err)
			require.EqualValues(t, 8443, addr.Port())
			require.True(t, isLAN(addr.Addr()))
		}
	}
	require.Equal(t, []string{"@x"}, reachable(&net.UnixAddr{Name: "@x"}))
	require.True(t, isLAN(netip.MustParseAddr("192.168.178.67")))
	require.False(t, isLAN(netip.MustParseAddr("fe80::1")))
	require.False(t, isLAN(netip.MustParseAddr("127.0.0.2")))
}
