// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// PINPrompt asks for the PIN on the terminal of the process, without echo. A
// process without one gets [ErrNoPIN]. Who waits for a person gives up when the
// context ends, and the terminal has its echo again.
func PINPrompt(prompt string) PIN {
	return PIN{func(ctx context.Context) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("%w: no terminal to ask on", ErrNoPIN)
		}
		before, err := term.GetState(int(tty.Fd()))
		if err != nil {
			return nil, errors.Join(err, tty.Close())
		}
		return untilCanceled(ctx, func() ([]byte, error) { return askOn(tty, prompt) }, func() {
			_ = term.Restore(int(tty.Fd()), before)
			fmt.Fprintln(tty)
		})
	}}
}

// askOn asks, and closes the terminal when it has the answer.
func askOn(tty *os.File, prompt string) ([]byte, error) {
	defer tty.Close()
	fmt.Fprint(tty, prompt)
	defer fmt.Fprintln(tty)
	return term.ReadPassword(int(tty.Fd()))
}

// untilCanceled returns what read does, or calls undo when ctx ends first. Nothing
// interrupts a read of a terminal: it goes on, and what it brings is wiped.
func untilCanceled(ctx context.Context, read func() ([]byte, error), undo func()) ([]byte, error) {
	text, err := p11.Await(ctx, read, func(late []byte) { clear(late) })
	if err != nil && ctx.Err() != nil {
		undo()
		return nil, ctx.Err()
	}
	return text, err
}
