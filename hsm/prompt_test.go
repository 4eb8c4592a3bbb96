// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// An interrupt ends the wait for a person, and gives the terminal its echo back.
func TestPromptIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	silent := make(chan struct{})
	defer close(silent)
	read := func() ([]byte, error) {
		interrupt()
		<-silent
		return nil, nil
	}
	undone := false
	_, err := untilCanceled(ctx, read, func() { undone = true })
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, undone)
}

func TestPromptAnswers(t *testing.T) {
	t.Parallel()
	undo := func() { t.Error("nothing was interrupted") }
	text, err := untilCanceled(t.Context(), func() ([]byte, error) { return []byte("1234"), nil }, undo)
	require.NoError(t, err)
	require.Equal(t, "1234", string(text))
	broken := errors.New("broken")
	_, err = untilCanceled(t.Context(), func() ([]byte, error) { return nil, broken }, undo)
	require.ErrorIs(t, err, broken)
}

// Nobody is asked whose answer is not waited for: the echo would be off afterwards.
func TestPromptAfterTheInterrupt(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	_, err := PINPrompt("PIN: ").get(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
