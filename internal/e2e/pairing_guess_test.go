// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/pairing"
)

// Each guess over the network takes a connection of its own and a full handshake:
// the terminal answers a stranger once, and resumes no stranger's session. 100 000
// of them take minutes, so that most guesses are put to the terminal's handler, as
// its server would put them, unless $HSMTLS_SOAK is set.
const (
	guesses         = 100_000
	socketGuesses   = 2_000
	guessesPerHost  = 100 // more than the 60 that a source has
	guessingWorkers = 16
)

// TestGuessing guesses from many sources, while the operator taps each time that
// the wrong codes have blocked the screen: so there nearly always is a code to be
// found.
func TestGuessing(t *testing.T) {
	t.Parallel()
	c := newCounterTerminal(t)
	c.tap(t)
	c.ResetCalls()

	n := socketGuesses
	if os.Getenv("HSMTLS_SOAK") != "" {
		n = guesses
	}
	over := c.guessOverSockets(t, n)
	require.Equal(t, n, over.refused+over.limited, "each is refused")
	require.True(t, over.limited > 0 || c.limits("10.200.0.1:1"), "a source that asks too often is told to wait")
	require.Equal(t, n, c.Calls("C_Sign"), "nothing is signed but handshakes")
	require.Equal(t, n, c.Calls("C_SignInit"))
	require.Zero(t, c.Calls("C_CreateObject"))

	c.ResetCalls()
	require.Equal(t, guesses-n, c.guessDirectly(guesses-n))
	require.Zero(t, c.Total(), "a wrong code costs the token nothing")

	require.Empty(t, c.List())
	require.Greater(t, int(c.taps.Load()), guesses/100, "fifty wrong codes for each tap, or little more: guesses met codes")
	b, err := c.pos(t, "https").Pair(t.Context(), pairing.Request{POSID: "till 1", Code: c.tap(t)})
	require.NoError(t, err, "the operator is not locked out")
	require.Equal(t, "till 1", b.POSID())
	t.Logf("%d guesses over sockets, %d of them limited; %d in all; %d taps", n, over.limited, guesses, c.taps.Load())
}

// tapIfBlocked is the operator.
func (c *counterTerminal) tapIfBlocked() error {
	if c.State().Phase != pairing.PhaseBlocked {
		return nil
	}
	c.taps.Add(1)
	return c.GenerateCode()
}

// outcomes are what became of guesses: answers 403 and 429.
type outcomes struct{ refused, limited int }

// guessOverSockets guesses from 127.1.0.1, 127.1.0.2 and so on.
func (c *counterTerminal) guessOverSockets(t *testing.T, n int) outcomes {
	t.Helper()
	var all outcomes
	var mu sync.Mutex
	var running sync.WaitGroup
	hosts := make(chan int)
	failed := make(chan error, guessingWorkers)
	for range guessingWorkers {
		running.Go(func() {
			for host := range hosts {
				got, err := c.guessFrom(host, min(guessesPerHost, n-host*guessesPerHost))
				if err != nil {
					failed <- fmt.Errorf("source %d: %w", host, err)
					return
				}
				mu.Lock()
				all.refused, all.limited = all.refused+got.refused, all.limited+got.limited
				mu.Unlock()
			}
		})
	}
	go func() {
		defer close(hosts)
		for host := range (n + guessesPerHost - 1) / guessesPerHost {
			hosts <- host
		}
	}()
	running.Wait()
	select {
	case err := <-failed:
		require.NoError(t, err)
	default:
	}
	return all
}

// A guesser is one source.
type guesser struct {
	addr   string
	from   *net.Dialer
	config *tls.Config
}

func (c *counterTerminal) newGuesser(host int) *guesser {
	return &guesser{c.addr, &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(host>>8), byte(host))}}, c.strangerConfig()}
}

func (c *counterTerminal) guessFrom(host, n int) (all outcomes, err error) {
	g := c.newGuesser(host)
	for range n {
		if err := errors.Join(c.tapIfBlocked(), g.once(&all)); err != nil {
			return all, err
		}
	}
	return all, nil
}

var errGuessed = errors.New("neither refused nor limited")

func (g *guesser) once(all *outcomes) error {
	conn, err := (&tls.Dialer{NetDialer: g.from, Config: g.config}).Dial("tcp", g.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	text := guessBody()
	if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", deviceName, len(text), text); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	switch {
	case err != nil:
		return err
	case bytes.HasPrefix(answer, []byte("HTTP/1.1 403 ")):
		all.refused++
	case bytes.HasPrefix(answer, []byte("HTTP/1.1 429 ")) && bytes.Contains(answer, []byte("\r\nRetry-After: ")):
		all.limited++
	default:
		return fmt.Errorf("%w: %.20q", errGuessed, answer)
	}
	return nil
}

// guessDirectly has each source guess as often as it may, and returns how many
// guesses were refused.
func (c *counterTerminal) guessDirectly(n int) int {
	var refused atomic.Int64
	var running sync.WaitGroup
	for worker := range guessingWorkers {
		running.Go(func() {
			for i := worker; i < n; i += guessingWorkers {
				source := fmt.Sprintf("10.%d.%d.%d:1", i/60>>16, byte(i/60>>8), byte(i/60))
				if c.tapIfBlocked() == nil && c.answer(source) == http.StatusForbidden {
					refused.Add(1)
				}
			}
		})
	}
	running.Wait()
	return int(refused.Load())
}

// limits reports whether a source is told to wait that asks again and again. On a busy
// machine those with a connection for each guess are too slow for that.
func (c *counterTerminal) limits(source string) bool {
	for range 10 * guessesPerHost {
		if c.answer(source) == http.StatusTooManyRequests {
			return true
		}
	}
	return false
}

// answer is the status of a guess.
func (c *counterTerminal) answer(source string) int {
	r := httptest.NewRequest(http.MethodPost, "https://"+deviceName+"/", bytes.NewReader(guessBody()))
	r.RemoteAddr, r.TLS = source, &tls.ConnectionState{Version: tls.VersionTLS12}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w.Code
}

func guessBody() []byte {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var code [8]byte
	for i := range code {
		code[i] = alphabet[rand.IntN(len(alphabet))]
	}
	return fmt.Appendf(nil, `{"posId":"guesser","setupCode":"%s"}`, code)
}
