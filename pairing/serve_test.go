// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// TestOneServeEnds and the connections of the other stay.
func TestOneServeEnds(t *testing.T) {
	t.Parallel()
	w := serve(t, withHandler)
	_, end := w.serveBeside(t)
	c, b := w.paired(t, "1")
	conn, err := c.Dial(t.Context(), b)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	reader := bufio.NewReader(conn)
	ping := func() {
		_, err := conn.Write([]byte("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		resp, err := http.ReadResponse(reader, &http.Request{Method: http.MethodHead})
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	ping()
	end()
	ping()
}

// A lateListener accepts one connection, after something else has happened.
type lateListener struct {
	net.Listener
	conn  net.Conn
	after func()
}

func (l *lateListener) Accept() (net.Conn, error) {
	conn := l.conn
	if l.conn = nil; conn == nil {
		return nil, net.ErrClosed
	}
	l.after()
	return conn, nil
}

// TestAcceptedWhileServeEnds is about a connection that comes when the others are
// closed already.
func TestAcceptedWhileServeEnds(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	require.NoError(t, far.SetReadDeadline(time.Now().Add(20*time.Second)))
	late := &lateListener{conn: near}
	tracked := &liveListener{Listener: late, live: newLive()}
	late.after = tracked.closeAll
	_, err := tracked.Accept()
	require.ErrorIs(t, err, net.ErrClosed, "the other is not handed out")
	_, err = far.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.Empty(t, tracked.live.conns)
}

// TestServeThatFailsIsNotShown has a provider that cannot work.
func TestServeThatFailsIsNotShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(t *Terminal) { t.Provider.SessionLifetime = 48 * time.Hour })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, w.Serve(t.Context(), ln), hsmtls.ErrOutOfRange)
	require.Empty(t, w.Details().Addresses)
}

// expiringTrust has something to warn of.
type expiringTrust struct {
	*memory
	warned *atomic.Int64
}

func (e expiringTrust) LogExpiring(*slog.Logger, time.Duration) { e.warned.Add(1) }

// TestTrustWarnsOfItsEnd although the terminal stands before it.
func TestTrustWarnsOfItsEnd(t *testing.T) {
	t.Parallel()
	var warned atomic.Int64
	w := serve(t, func(t *Terminal) {
		t.Provider.Trust = expiringTrust{t.Provider.Trust.(*memory), &warned}
		t.Provider.ExpiryWarning, t.Provider.Logger = time.Hour, slog.New(slog.DiscardHandler)
	})
	w.paired(t, "1")
	require.Positive(t, warned.Load())
}
