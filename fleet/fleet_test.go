// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

func TestSetRefuses(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	for _, tt := range []struct {
		name     string
		fleet    *Fleet
		terminal Terminal
	}{
		{"no provider", &Fleet{Suffix: suffix, Alias: "a"}, Terminal{Serial: "1", Addr: "192.0.2.1:1"}},
		{"no suffix", &Fleet{Provider: e.fleet.Provider, Alias: "a"}, Terminal{Serial: "1", Addr: "192.0.2.1:1"}},
		{"no serial", e.fleet, Terminal{Addr: "192.0.2.1:1"}},
		{"two labels", e.fleet, Terminal{Serial: "1.2", Addr: "192.0.2.1:1"}},
		{"wildcard", e.fleet, Terminal{Serial: "*", Addr: "192.0.2.1:1"}},
		{"no port", e.fleet, Terminal{Serial: "1", Addr: "192.0.2.1"}},
		{"no alias", &Fleet{Provider: e.fleet.Provider, Suffix: suffix}, Terminal{Serial: "1", Addr: "192.0.2.1:1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, tt.fleet.Set(tt.terminal), ErrIncomplete)
		})
	}
}

func TestOneClientForAll(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	first := e.terminal("0001")
	e.terminal("A-2")
	transport := e.fleet.Transport()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	_, port, err := net.SplitHostPort(first.addr)
	require.NoError(t, err)
	for url, want := range map[string]string{
		"https://0001." + suffix + "/":              "terminal at 0001." + suffix,
		"https://0001." + suffix + ":" + port + "/": "terminal at 0001." + suffix + ":" + port,
		"https://a-2.Terminals.Example/status":      "terminal at a-2.Terminals.Example",
	} {
		resp, err := client.Get(url)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, string(body))
		require.NotNil(t, resp.TLS)
	}
	for _, url := range []string{"https://0003." + suffix + "/", "https://0001.example/", "https://0001." + suffix + ":1/", "https://" + first.addr} {
		_, err := client.Get(url)
		require.ErrorIs(t, err, ErrUnknown, url)
	}
	_, err = client.Get("http://0001." + suffix + "/")
	require.ErrorIs(t, err, hsmtls.ErrPlaintext)
}

// A terminal must prove its own name, whatever else it has a certificate for.
func TestWrongTerminal(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	other := e.terminal("0002")
	require.NoError(t, e.fleet.Set(Terminal{Serial: "0001", Addr: other.addr}))
	_, err := e.dial("0001")
	var wrong x509.HostnameError
	require.ErrorAs(t, err, &wrong)
	_, err = e.dial("0009")
	require.ErrorIs(t, err, ErrUnknown)
}

// A terminal that fails too often is left alone, and asked again when that is over.
func TestPause(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	var now sync.Map
	now.Store("now", time.Now())
	e.fleet.Now = func() time.Time { at, _ := now.Load("now"); return at.(time.Time) }
	e.fleet.MaxPause = 90 * time.Minute
	s := e.terminal("0001")
	s.kill()
	for range defaultFailures {
		_, err := e.dial("0001")
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrPaused)
	}
	require.Equal(t, Paused, e.state("0001"))
	_, err := e.dial("0001")
	var paused *PausedError
	require.ErrorAs(t, err, &paused)
	require.Equal(t, defaultFailures, paused.Failures)
	require.Error(t, paused.Err)
	require.LessOrEqual(t, paused.Until.Sub(e.fleet.now()), time.Hour)
	require.GreaterOrEqual(t, paused.Until.Sub(e.fleet.now()), time.Hour/2)

	// The pause doubles, and ends at its most.
	for range 2 {
		now.Store("now", paused.Until)
		_, err = e.dial("0001")
		require.NotErrorIs(t, err, ErrPaused)
		_, err = e.dial("0001")
		require.ErrorAs(t, err, &paused)
	}
	require.LessOrEqual(t, paused.Until.Sub(e.fleet.now()), 90*time.Minute)
	require.GreaterOrEqual(t, paused.Until.Sub(e.fleet.now()), 45*time.Minute)

	// It is back: one success makes all well.
	now.Store("now", paused.Until)
	s.start(e.root.Server("0001." + suffix))
	_, err = e.dial("0001")
	require.NoError(t, err)
	status, err := e.fleet.Status("0001")
	require.NoError(t, err)
	require.Equal(t, Connected, status.State)
	require.Zero(t, status.Failures)
	require.NoError(t, status.Err)
}

// Moving makes a terminal worth a try at once.
func TestMove(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fleet.Failures = 1
	s := e.terminal("0001")
	s.kill()
	_, err := e.dial("0001")
	require.Error(t, err)
	_, err = e.dial("0001")
	require.ErrorIs(t, err, ErrPaused)
	s.addr = "127.0.0.1:0"
	s.start(e.root.Server("0001." + suffix))
	require.NoError(t, e.fleet.Set(Terminal{Serial: "0001", Addr: s.addr}))
	_, err = e.dial("0001")
	require.NoError(t, err)
}

// Who gives up, or a token that does not sign, is no failure of the terminal.
func TestNotItsFault(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fleet.Failures = 1
	e.fleet.Provider.SignTimeout = time.Millisecond
	e.terminal("0001")
	e.key.holding.Lock()
	_, err := e.dial("0001")
	e.key.holding.Unlock()
	require.ErrorIs(t, err, hsmtls.ErrSignTimeout)
	e.fleet.Provider.SignTimeout = 0
	e.key.lost.Store(true)
	_, err = e.dial("0001")
	require.ErrorIs(t, err, errLost)
	e.key.lost.Store(false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.fleet.Dial(ctx, "0001")
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, Idle, e.state("0001"))
}

// One terminal that is wanted many times has one place in the queue: another one comes
// after one handshake. It says that it waits before it stands there, so it may come too
// late now and then.
func TestFair(t *testing.T) {
	t.Parallel()
	var order []string
	for range 5 {
		order = contend(t)
		turn := slices.Index(order, "modest."+suffix)
		require.GreaterOrEqual(t, turn, 0)
		if turn < 4 {
			return
		}
	}
	require.Fail(t, "the modest one waits for the greedy one", "%v", order)
}

// contend has a greedy terminal dialled by many, and then a modest one by one. It returns
// whose handshakes there were, in their order.
func contend(t *testing.T) []string {
	t.Helper()
	const many = 20
	e := newEstate(t)
	e.fleet.Handshakes, e.fleet.Timeout = 1, time.Hour
	e.fleet.Provider.SessionLifetime = -1
	var order handshakes
	e.fleet.Provider.VerifyPeer = order.note
	e.terminal("greedy")
	e.terminal("modest")
	e.key.holding.Lock()
	failures := make(chan error, many+1)
	var running sync.WaitGroup
	for range many {
		running.Go(func() {
			_, err := e.dial("greedy")
			failures <- err
		})
	}
	greedy, err := e.fleet.find("greedy")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		e.fleet.mu.Lock()
		defer e.fleet.mu.Unlock()
		return greedy.connecting == 1 && greedy.waiting == many-1
	}, time.Minute, time.Millisecond)
	running.Go(func() {
		_, err := e.dial("modest")
		failures <- err
	})
	require.Eventually(t, func() bool { return e.state("modest") == Waiting }, time.Minute, time.Millisecond)
	e.key.holding.Unlock()
	running.Wait()
	for range cap(failures) {
		require.NoError(t, <-failures)
	}
	return order.with
}

// handshakes are the names of terminals, in the order in which they proved them.
type handshakes struct {
	mu   sync.Mutex
	with []string
}

func (h *handshakes) note(cs tls.ConnectionState) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.with = append(h.with, cs.ServerName)
	return nil
}

// Who can resume a session does not wait for those who need a signature.
func TestResumptionFirst(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.fleet.Handshakes, e.fleet.Timeout = 1, time.Hour
	e.terminal("known")
	e.terminal("stranger")
	conn, err := e.dial("known")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, int64(1), e.key.signed.Load())

	e.key.holding.Lock()
	stuck := make(chan error, 1)
	go func() {
		_, err := e.dial("stranger")
		stuck <- err
	}()
	require.Eventually(t, func() bool { return e.state("stranger") == Connecting }, time.Minute, time.Millisecond)
	conn, err = e.dial("known")
	require.NoError(t, err)
	report, err := hsmtls.Report(conn)
	require.NoError(t, err)
	require.True(t, report.Resumed)
	e.key.holding.Unlock()
	require.NoError(t, <-stuck)
	require.Equal(t, int64(2), e.key.signed.Load())
}

func TestEvents(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	var mu sync.Mutex
	var seen []State
	stop := e.fleet.Watch(func(event Event) {
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, "0001", event.Serial)
		seen = append(seen, event.State)
	})
	e.terminal("0001")
	conn, err := e.dial("0001")
	require.NoError(t, err)
	require.Equal(t, map[State]int{Connected: 1}, e.fleet.Counts())
	require.NoError(t, conn.Close())
	stop()
	_, err = e.dial("0001")
	require.NoError(t, err)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []State{Waiting, Connecting, Connected, Idle}, seen)
	require.Len(t, e.fleet.Statuses(), 1)
}
