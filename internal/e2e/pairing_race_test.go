// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/pairing"
)

// TestOneCodeManyPOS has several POS connect, over https and wss, and then give one
// code at the same moment: one of them gets a certificate, and that one alone is
// listed.
func TestOneCodeManyPOS(t *testing.T) {
	t.Parallel()
	c := newCounterTerminal(t)
	wins := map[string]int{}
	for round := range 6 { // of eight requests each: 60 are not too many
		wins[c.rush(t, round)]++
		require.Len(t, c.List(), round+1)
	}
	t.Logf("who was first: %v", wins)
}

// A rival is a POS that has connected, and gives its code when it is told to.
type rival struct {
	id, scheme string
	speak      func(message []byte) (status int, reply []byte, err error)
	status     int
	reply      []byte
	err        error
}

// rush returns the scheme of the POS that won.
func (c *counterTerminal) rush(t *testing.T, round int) (winner string) {
	t.Helper()
	code := c.tap(t).Reveal()
	rivals := make([]*rival, 8)
	var together, running sync.WaitGroup
	together.Add(len(rivals))
	for n := range rivals {
		r := c.newRival(t, []string{"https", "wss"}[n%2], fmt.Sprintf("till %d.%d", round, n))
		rivals[n] = r
		running.Go(func() {
			together.Done()
			together.Wait()
			r.status, r.reply, r.err = r.speak(fmt.Appendf(nil, `{"posId":%q,"setupCode":%q}`, r.id, code))
		})
	}
	running.Wait()
	for _, r := range rivals {
		require.NoError(t, r.err)
		if r.status != http.StatusOK {
			require.Contains(t, []int{http.StatusForbidden, http.StatusConflict}, r.status)
			require.Contains(t, string(r.reply), `{"type":"ErrorResponse"`)
			continue
		}
		require.Empty(t, winner, "another POS has won with the same code")
		winner = r.scheme
		c.requireListed(t, r)
	}
	require.NotEmpty(t, winner)
	require.Eventually(t, func() bool { return c.State().Phase == pairing.PhasePaired }, 30*time.Second, time.Millisecond,
		"the screen says so, a moment after the POS has its answer")
	return winner
}

func (c *counterTerminal) requireListed(t *testing.T, r *rival) {
	t.Helper()
	b, err := pairing.ParseBundle(r.reply)
	require.NoError(t, err)
	require.Equal(t, r.id, b.POSID())
	require.True(t, slices.ContainsFunc(c.List(), func(p pairing.POS) bool { return p.Certificate.Equal(b.Chain[0]) }))
}

func (c *counterTerminal) newRival(t *testing.T, scheme, id string) *rival {
	t.Helper()
	conn, err := tls.Dial("tcp", c.addr, c.strangerConfig())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	r := &rival{id: id, scheme: scheme, speak: func(m []byte) (int, []byte, error) { return post(conn, m) }}
	if scheme == "wss" {
		socket := upgrade(t, conn)
		r.speak = func(m []byte) (int, []byte, error) { return send(t.Context(), socket, m) }
	}
	return r
}

func post(conn net.Conn, message []byte) (int, []byte, error) {
	r, err := http.NewRequest(http.MethodPost, "https://"+deviceName+"/", bytes.NewReader(message))
	if err != nil {
		return 0, nil, err
	}
	if err := r.Write(conn); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	return resp.StatusCode, reply, err
}

func upgrade(t *testing.T, conn net.Conn) (socket *websocket.Conn) {
	t.Helper()
	transport := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	var err error
	fips140.WithoutEnforcement(func() { // SHA-1, RFC 6455 section 1.3
		socket, _, err = websocket.Dial(t.Context(), "wss://"+deviceName+"/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	})
	require.NoError(t, err)
	t.Cleanup(func() { socket.CloseNow() })
	return socket
}

// send returns the status that the close code stands for.
func send(ctx context.Context, socket *websocket.Conn, message []byte) (int, []byte, error) {
	if err := socket.Write(ctx, websocket.MessageText, message); err != nil {
		return 0, nil, err
	}
	_, reply, err := socket.Read(ctx)
	if err != nil {
		return 0, nil, err
	}
	_, _, err = socket.Read(ctx)
	switch code := websocket.CloseStatus(err); {
	case code == websocket.StatusNormalClosure:
		return http.StatusOK, reply, nil
	case code > 4000:
		return int(code) - 4000, reply, nil
	}
	return 0, nil, err
}

// TestCodeAndTheClockOnTheWall sets the terminal's clock while a code is shown:
// forward ends the code, back does not prolong it and takes nothing from it.
func TestCodeAndTheClockOnTheWall(t *testing.T) {
	t.Parallel()
	c := newCounterTerminal(t)
	key := newPOSKey(t)
	for name, test := range map[string]struct {
		set    time.Duration
		status int // of who gives the code afterwards; 0 if it is paired
	}{
		"five minutes on":   {300 * time.Second, 403},
		"a year on":         {365 * 24 * time.Hour, 403},
		"a minute on":       {time.Minute, 0},
		"five minutes back": {-300 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			code := c.tap(t)
			c.ahead.Store(int64(test.set))
			defer c.ahead.Store(0)
			_, err := c.pos(t, "https").Pair(t.Context(), pairing.Request{POSID: "till", Code: code, Key: key})
			if test.status == 0 {
				require.NoError(t, err)
				return
			}
			var refused *pairing.StatusError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, test.status, refused.Status)
			require.NotEqual(t, code, c.State().Code, "another one is shown")
			require.LessOrEqual(t, c.State().Left, 300*time.Second)
		})
	}
}
