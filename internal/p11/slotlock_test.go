// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// TestSlotLock has a call hang at a slot: a change gives up, and no other call
// waits for either.
func TestSlotLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var slots slotLock
		nothing := func() error { return nil }
		hung := make(chan struct{})
		go func() {
			slots.RLock()
			defer slots.RUnlock()
			<-hung
		}()
		synctest.Wait()

		changed := make(chan error)
		go func() { changed <- slots.change(nothing) }()
		synctest.Wait()
		require.True(t, slots.TryRLock())
		slots.RUnlock()
		require.ErrorIs(t, <-changed, errSlotsInUse)

		close(hung)
		synctest.Wait()
		require.NoError(t, slots.change(nothing))
	})
}
