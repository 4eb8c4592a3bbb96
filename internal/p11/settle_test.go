// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A page on disk holds the value and the attributes beside it.
func TestMayBeCut(t *testing.T) {
	t.Parallel()
	short, long := make([]byte, 3<<10), make([]byte, 4<<10)
	require.False(t, p11.MayBeCut())
	require.False(t, p11.MayBeCut(short, short))
	require.True(t, p11.MayBeCut(short, long))
}
