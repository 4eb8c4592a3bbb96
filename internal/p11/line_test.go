// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLongMessage has the other end send more than a message may have.
func TestLongMessage(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{maxMessage / 2: nil, maxMessage: errLongMessage} {
		here, there, err := os.Pipe()
		require.NoError(t, err)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_ = newLine(there).encode.Encode(&answer{Bytes: make([]byte, size)}) // ends when nobody reads on
		}()
		var a answer
		require.ErrorIs(t, newLine(here).read(&a), want)
		require.NoError(t, here.Close())
		<-sent
		require.NoError(t, there.Close())
	}
}
