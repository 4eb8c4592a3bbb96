// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package alias_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		alias string
		want  error
	}{
		{"plain", "terminal_pub", nil},
		{"inner space", "acquirer host 1", nil},
		{"beyond ASCII", "Kassenterminal Köln", nil},
		{"longest", strings.Repeat("a", alias.MaxLen), nil},
		{"word issuer", "issuer", nil},
		{"empty", "", alias.ErrEmpty},
		{"too long", strings.Repeat("a", alias.MaxLen+1), alias.ErrTooLong},
		{"too long in bytes", strings.Repeat("ö", 33), alias.ErrTooLong},
		{"new line", "a\nb", alias.ErrUnprintable},
		{"NUL", "a\x00", alias.ErrUnprintable},
		{"escape", "\x1b[2J", alias.ErrUnprintable},
		{"right-to-left override", "a\u202eb", alias.ErrUnprintable},
		{"no-break space", "a\u00a0b", alias.ErrUnprintable},
		{"not UTF-8", "a\xff", alias.ErrUnprintable},
		{"leading space", " a", alias.ErrSpace},
		{"trailing space", "a ", alias.ErrSpace},
		{"only space", " ", alias.ErrSpace},
		{"label of an issuer", alias.IssuerLabel([]byte("x")), alias.ErrReserved},
		{"label of an anchor", alias.AnchorLabel("vendor", []byte("x")), alias.ErrReserved},
		{"label of an issuer of trust", alias.TrustIssuerLabel([]byte("x")), alias.ErrReserved},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, alias.Check(tt.alias), tt.want)
		})
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	trust, issuer := alias.TrustID([]byte("der")), alias.IssuerID([]byte("der"))
	require.Len(t, trust, 15+32)
	require.Len(t, issuer, 15+32)
	require.True(t, alias.IsTrustID(trust))
	require.False(t, alias.IsTrustID(issuer))
	require.True(t, alias.IsIssuerID(issuer))
	require.False(t, alias.IsIssuerID(trust))
	require.NotEqual(t, trust, alias.TrustID([]byte("other")))
	require.True(t, alias.IsOwnID(trust))
	require.True(t, alias.IsOwnID(issuer))
	require.False(t, alias.IsOwnID([]byte("other")))
	require.Len(t, alias.IssuerLabel([]byte("der")), len("issuer ")+16)
	require.True(t, alias.IsTrustIssuerLabel(alias.TrustIssuerLabel([]byte("der"))))
	require.False(t, alias.IsTrustIssuerLabel(alias.IssuerLabel([]byte("der"))))
}

func TestAnchorKind(t *testing.T) {
	t.Parallel()
	id := alias.AnchorID("vendor", []byte("der"))
	require.True(t, alias.IsAnchorID(id))
	require.True(t, alias.IsOwnID(id))
	require.False(t, alias.IsTrustID(id))
	kind, ok := alias.AnchorKind(id, []byte("der"))
	require.True(t, ok)
	require.Equal(t, "vendor", kind)
	for _, tt := range []struct {
		name    string
		id, der []byte
	}{
		{"another certificate", id, []byte("other")},
		{"an entry", alias.TrustID([]byte("der")), []byte("der")},
		{"cut off", id[:len(id)-1], []byte("der")},
		{"no kind", []byte("hsmtls-anchor-1:"), []byte("der")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, ok := alias.AnchorKind(tt.id, tt.der)
			require.False(t, ok)
		})
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"terminal_pub", "", " a", "a\x00", "issuer 00", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if alias.Check(s) != nil {
			return
		}
		require.LessOrEqual(t, len(s), alias.MaxLen)
		require.Equal(t, strings.TrimSpace(s), s)
		require.NotContains(t, s, "\x00")
	})
}
