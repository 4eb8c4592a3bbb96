// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A connection may be closed before it is counted: the Provider does that to a peer
// that is not trusted any more.
func TestClosedBeforeItCounts(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	require.NoError(t, e.fleet.Set(Terminal{Serial: "0001", Addr: "127.0.0.1:1"}))
	one, err := e.fleet.find("0001")
	require.NoError(t, err)
	one.waiting = 1
	at, err := e.fleet.begin(one)
	require.NoError(t, err)
	near, far := net.Pipe()
	defer far.Close()
	conn := &countedConn{Conn: near}
	require.NoError(t, conn.Close())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.fleet.end(one, at, conn, nil, true)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "the fleet hangs")
	}
	status, err := e.fleet.Status("0001")
	require.NoError(t, err)
	require.Equal(t, Idle, status.State)
	require.Zero(t, status.Connections)
}

// Who waits for a terminal that is removed does not reach it any more, whether it stands
// behind another one or behind the whole fleet.
func TestRemovedWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, occupied := range map[string]string{"for the terminal": "0001", "for a handshake": "0002"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t)
			e.fleet.Handshakes, e.fleet.Timeout = 1, time.Hour
			var order handshakes
			e.fleet.Provider.VerifyPeer = func(cs tls.ConnectionState) error { return order.note(cs) }
			e.terminal("0001")
			e.terminal("0002")
			e.key.holding.Lock()
			first, second := make(chan error, 1), make(chan error, 1)
			dial := func(serial string, done chan<- error) {
				_, err := e.dial(serial)
				done <- err
			}
			go dial(occupied, first)
			require.Eventually(t, func() bool { return e.state(occupied) == Connecting }, time.Minute, time.Millisecond)
			one, err := e.fleet.find("0001")
			require.NoError(t, err)
			go dial("0001", second)
			require.Eventually(t, func() bool {
				e.fleet.mu.Lock()
				defer e.fleet.mu.Unlock()
				return one.waiting == 1
			}, time.Minute, time.Millisecond)
			require.NoError(t, e.fleet.Remove("0001"))
			require.ErrorIs(t, <-second, ErrUnknown, "at once: the handshake before it has not ended")
			e.key.holding.Unlock()
			require.NoError(t, <-first, "was under way")
			require.Equal(t, []string{occupied + "." + suffix}, order.with)
		})
	}
}

// What fails at the old address of a terminal does not count at the new one.
func TestMovedWhileDialled(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fleet.Failures, e.fleet.Timeout = 1, time.Second
	s := e.terminal("0001")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	require.NoError(t, e.fleet.Set(Terminal{Serial: "0001", Addr: silent.Addr().String()}))
	first := make(chan error, 1)
	go func() {
		_, err := e.dial("0001")
		first <- err
	}()
	require.Eventually(t, func() bool { return e.state("0001") == Connecting }, time.Minute, time.Millisecond)
	require.NoError(t, e.fleet.Set(Terminal{Serial: "0001", Addr: s.addr}))
	require.Error(t, <-first)
	status, err := e.fleet.Status("0001")
	require.NoError(t, err)
	require.Equal(t, Idle, status.State)
	require.Zero(t, status.Failures)
}

// Keep tries a terminal that has moved at once, as Dial does.
func TestKeepFollowsTheMove(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fleet.Failures = 1
	e.fleet.Pause, e.fleet.MaxPause = time.Millisecond, time.Millisecond
	s := e.terminal("0001")
	s.kill()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, e.fleet.Set(Terminal{Serial: "0001", Addr: s.addr}))
	one, err := e.fleet.find("0001")
	require.NoError(t, err)
	one.until = time.Now().Add(time.Hour)
	connected, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- e.fleet.Keep(ctx, "0001", func(ctx context.Context, conn net.Conn) error {
			close(connected)
			return untilClosed(ctx, conn)
		})
	}()
	time.Sleep(200 * time.Millisecond) // it rests by now, most likely
	s.addr = "127.0.0.1:0"
	s.start(e.root.Server("0001." + suffix))
	require.NoError(t, e.fleet.Set(Terminal{Serial: "0001", Addr: s.addr}))
	select {
	case <-connected:
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the old address is still waited for")
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}
