// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every terminal of an estate is kept, through the power cut of all of them.
func TestKeep(t *testing.T) {
	t.Parallel()
	const n = 30
	e := newEstate(t)
	e.fleet.Pause, e.fleet.MaxPause = 10*time.Millisecond, 50*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var terminals []*simulated
	var running sync.WaitGroup
	for i := range n {
		s := e.terminal(fmt.Sprintf("%04d", i))
		terminals = append(terminals, s)
		running.Go(func() {
			require.ErrorIs(t, e.fleet.Keep(ctx, s.serial, untilClosed), context.Canceled)
		})
	}
	all := func() bool { return e.fleet.Counts()[Connected] == n }
	require.Eventually(t, all, time.Minute, 5*time.Millisecond)
	for _, s := range terminals {
		s.kill()
	}
	require.Eventually(t, func() bool { return e.fleet.Counts()[Connected] == 0 }, time.Minute, 5*time.Millisecond)
	for _, s := range terminals {
		s.start(e.root.Server(s.serial + "." + suffix))
	}
	require.Eventually(t, all, time.Minute, 5*time.Millisecond)
	cancel()
	running.Wait()
	require.Zero(t, e.fleet.Counts()[Connected])
}

// untilClosed uses a connection until one side closes it.
func untilClosed(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_, err := io.Copy(io.Discard, conn)
	return err
}

func TestKeepEndsWithTheTerminal(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	require.ErrorIs(t, e.fleet.Keep(t.Context(), "0001", untilClosed), ErrUnknown)
	e.terminal("0001")
	connected := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- e.fleet.Keep(t.Context(), "0001", func(ctx context.Context, conn net.Conn) error {
			close(connected)
			return untilClosed(ctx, conn)
		})
	}()
	<-connected
	require.NoError(t, e.fleet.Remove("0001"))
	require.ErrorIs(t, <-ended, ErrUnknown)
	require.ErrorIs(t, e.fleet.Remove("0001"), ErrUnknown)
}
