// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGate(t *testing.T) {
	t.Parallel()
	var g gate
	require.False(t, g.enter(), "the zero gate is closed")
	g.admit()
	require.True(t, g.enter())
	require.False(t, g.shut(time.Millisecond), "somebody is inside")
	require.True(t, g.enter(), "and the gate is open again")
	g.leave()
	g.leave()
	require.True(t, g.shut(time.Millisecond))
	require.False(t, g.enter())
}

// TestGateRetire leaves a hung call alone: what ends the module runs when the
// last call has left, not before and once.
func TestGateRetire(t *testing.T) {
	t.Parallel()
	var g gate
	g.admit()
	require.True(t, g.enter())
	require.True(t, g.enter())
	ended := 0
	g.retire(func() { ended++ })
	require.False(t, g.enter())
	g.leave()
	require.Zero(t, ended)
	g.leave()
	require.Equal(t, 1, ended)

	var empty gate
	empty.admit()
	empty.retire(func() { ended++ })
	require.Equal(t, 2, ended)
}
