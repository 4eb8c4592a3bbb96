// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"
)

// Keep stays connected to a terminal: it dials it, hands the connection to use,
// and does so again when use has returned and the connection is closed, or when
// dialling has failed. Before each new try it waits a random part of the Pause, and
// longer if the terminal is left alone, but no longer than until it moves. What use
// returns is of no consequence; the context that use gets ends with Keep.
//
// Keep returns when ctx ends, with its error; or when the terminal has been
// removed, or was never there, with [ErrUnknown].
func (f *Fleet) Keep(ctx context.Context, serial string, use func(context.Context, net.Conn) error) error {
	t, err := f.find(serial)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-t.gone:
			cancel(ErrUnknown)
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		f.connection(ctx, serial, use)
		f.rest(ctx, t)
	}
	return context.Cause(ctx)
}

// connection is one connection from dialling it to its end.
func (f *Fleet) connection(ctx context.Context, serial string, use func(context.Context, net.Conn) error) {
	conn, err := f.Dial(ctx, serial)
	if err != nil {
		return
	}
	defer conn.Close()
	if err := use(ctx, conn); err != nil && !errors.Is(err, context.Canceled) {
		f.logger().Debug("fleet: connection ended", "serial", serial, "err", err)
	}
}

// rest waits before the next try.
func (f *Fleet) rest(ctx context.Context, t *terminal) {
	wait := rand.N(or(f.Pause, defaultPause))
	f.mu.Lock()
	wait = max(wait, t.until.Sub(f.now()))
	moved := t.moved
	f.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-moved:
	case <-ctx.Done():
	}
}
