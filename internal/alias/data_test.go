// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package alias_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
)

func TestDataLabels(t *testing.T) {
	t.Parallel()
	id := []byte("0123456789abcdef")
	crl, mark, deny := alias.CRLLabel(id), alias.CRLMarkLabel(id), alias.DenyLabel(id)
	require.Equal(t, "crl of 3031323334353637", crl)
	require.Equal(t, "crl seen of 3031323334353637", mark)
	require.Equal(t, "deny-list 30313233343536373839616263646566", deny)
	for _, tt := range []struct {
		label string
		want  [3]bool
	}{
		{crl, [3]bool{true, false, false}},
		{mark, [3]bool{false, true, false}},
		{deny, [3]bool{false, false, true}},
		{"other", [3]bool{}},
	} {
		got := [3]bool{alias.IsCRLLabel(tt.label), alias.IsCRLMarkLabel(tt.label), alias.IsDenyLabel(tt.label)}
		require.Equal(t, tt.want, got, tt.label)
	}
}
