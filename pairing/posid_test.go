// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPOSID(t *testing.T) {
	t.Parallel()
	issuer, key := newIssuer(t), newKey(t)
	for _, id := range []string{
		"123", "pos.example", "10.0.0.7", "00:11:22:33:44:55", "0x7f000001", "Kasse Süd", "a/b", "../..", "%41", "?q#f", "a b", ".", "店1",
		"https://evil.example/", strings.Repeat("x", 64), strings.Repeat("é", 64), `"'<>&\;=,+`,
	} {
		require.NoError(t, CheckPOSID(id), id)
		chain, err := issuer.Issue(id, key.Public(), time.Now())
		require.NoError(t, err, id)
		again, err := x509.ParseCertificate(chain[0].Raw)
		require.NoError(t, err, id)
		got, ok := POSID(again)
		require.True(t, ok, id)
		require.Equal(t, id, got)
		require.LessOrEqual(t, len([]rune(again.Subject.CommonName)), maxCommonName)
	}
}

func TestPOSIDRefused(t *testing.T) {
	t.Parallel()
	issuer, key := newIssuer(t), newKey(t)
	for name, id := range map[string]string{
		"empty": "", "long": strings.Repeat("x", 65), "space before": " a", "space after": "a ", "control": "a\x00b", "line": "a\nb",
		"not UTF-8": "a\xff", "bidi": "a\u202eb", "no-break space": "a\u00a0b", "zero width": "a\u200bb",
	} {
		require.ErrorIs(t, CheckPOSID(id), ErrPOSID, name)
		_, err := issuer.Issue(id, key.Public(), time.Now())
		require.ErrorIs(t, err, ErrPOSID, name)
	}
}

func TestPOSIDOfOthers(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"https://pairing.invalid/123", "hsmtls-pos://other.invalid/123", "hsmtls-pos:123", "hsmtls-pos://pairing.invalid/",
		"hsmtls-pos://pairing.invalid/%31", "hsmtls-pos://pairing.invalid/1?x", "hsmtls-pos://u@pairing.invalid/1", "hsmtls-pos://pairing.invalid/%20",
	} {
		u, err := url.Parse(uri)
		require.NoError(t, err)
		_, ok := POSID(&x509.Certificate{URIs: []*url.URL{u}})
		require.False(t, ok, uri)
	}
	u := posURI("1")
	_, ok := POSID(&x509.Certificate{URIs: []*url.URL{u, u}})
	require.False(t, ok, "two names")
	_, ok = POSID(nil)
	require.False(t, ok)
}
