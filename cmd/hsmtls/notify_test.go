// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// warnings is what an operator is told.
type warnings struct {
	mu  sync.Mutex
	all []string
}

func (w *warnings) add(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, fmt.Sprintf(format, args...))
}

func (w *warnings) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.all, "\n")
}

// manager is a service manager's end of a socket.
func manager(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// hears returns one datagram.
func hears(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	return string(buf[:n])
}

func TestNotify(t *testing.T) {
	t.Parallel()
	names := []string{filepath.Join(t.TempDir(), "notify")}
	if runtime.GOOS == "linux" {
		names = append(names, "@hsmtls-test-"+strconv.Itoa(os.Getpid()))
	}
	for _, name := range names {
		conn := manager(t, name)
		said := new(warnings)
		n, err := newNotifier(name, said.add)
		require.NoError(t, err)
		before := monotonic()
		for _, s := range []stage{ready, reloading, ready, stopping, ready, reloading, stopping} {
			n.enter(s)
		}
		require.Equal(t, "READY=1", hears(t, conn))
		reload, usec, ok := strings.Cut(hears(t, conn), "\nMONOTONIC_USEC=")
		require.True(t, ok)
		require.Equal(t, "RELOADING=1", reload)
		at, err := strconv.ParseInt(usec, 10, 64)
		require.NoError(t, err)
		require.GreaterOrEqual(t, at, before.Microseconds())
		require.Equal(t, "READY=1", hears(t, conn))
		require.Equal(t, "STOPPING=1", hears(t, conn))
		n.send("STATUS=last")
		require.Equal(t, "STATUS=last", hears(t, conn), "nothing after the end")
		require.Empty(t, said.text())

		conn.Close()
		n.send("STATUS=1")
		n.send("STATUS=2")
		require.Len(t, said.all, 1, "said once")
		n.close()
	}
}

func TestNotifyNobody(t *testing.T) {
	t.Parallel()
	n, err := newNotifier("", nil)
	require.NoError(t, err)
	n.enter(ready)
	n.keep(t.Context(), running{}, time.Hour) // returns at once
	n.close()
	_, err = newNotifier("relative", nil)
	require.Error(t, err)
	n, err = newNotifier(filepath.Join(t.TempDir(), "absent"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	n.enter(ready)
}

func TestWatchdogBeat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"30000000", "", 10 * time.Second},
		{"30000000", strconv.Itoa(os.Getpid()), 10 * time.Second},
		{"30000000", "1", 0},
		{"", "", 0},
		{"0", "", 0},
		{"-1", "", 0},
		{"soon", "", 0},
	} {
		require.Equal(t, tt.want, watchdogBeat(tt.usec, tt.pid), "%q %q", tt.usec, tt.pid)
	}
}

// TestNotifyKeeps has the watchdog beat on when there is no token any more, and says so.
// The socket holds a few datagrams, and what finds it full for a second is lost: so it is
// read while the token closes, and the beat is slow.
func TestNotifyKeeps(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "notify")
	conn := manager(t, name)
	n, err := newNotifier(name, new(warnings).add)
	require.NoError(t, err)
	defer n.close()
	r := running{token: hsmtest.Token(t), trust: new(truststore.Store), provider: new(hsmtls.Provider), open: func() int { return 0 }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.keep(ctx, r, time.Second)
	}()
	require.Equal(t, "STATUS=token ready", hears(t, conn))
	require.Equal(t, "WATCHDOG=1", hears(t, conn))
	closed := make(chan error, 1)
	go func() { closed <- r.token.Close() }()
	end := time.Now().Add(patience)
	for heard := ""; !strings.HasPrefix(heard, "STATUS=token closed: "); heard = hears(t, conn) {
		require.Contains(t, []string{"", "WATCHDOG=1"}, heard)
		require.True(t, time.Now().Before(end), "the token is closed, and nobody is told")
	}
	require.NoError(t, <-closed)
	for range 3 {
		require.Equal(t, "WATCHDOG=1", hears(t, conn), "without a token too")
	}
	cancel()
	<-ended
}

// cmdManager listens as a service manager does, at $NAME, and writes down what it is told
// in NAME.told:
//
//	manager NAME
func cmdManager(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: manager NAME")
	}
	path := ts.MkAbs(args[0] + ".sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	ts.Check(err)
	told, err := os.Create(ts.MkAbs(args[0] + ".told"))
	ts.Check(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer told.Close()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			_, _ = told.Write(append(buf[:n:n], '\n'))
		}
	}()
	ts.Defer(func() {
		conn.Close()
		<-ended
	})
	ts.Setenv(args[0], path)
}
