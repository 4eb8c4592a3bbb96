// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// upgradeServer answers a WebSocket upgrade and then echoes, on a server that
// prefers HTTP/2.
func (w *world) upgradeServer(t *testing.T) string {
	t.Helper()
	l := ListenConfig{Provider: w.server, Alias: acquirer, NextProtos: []string{"h2", "http/1.1"}}
	ln, err := l.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conn, buf, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return // HTTP/2 cannot
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(conn, buf)
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// TestWebSocketByTransport upgrades as a WebSocket library with an http.Client does.
func TestWebSocketByTransport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+w.upgradeServer(t), nil)
	require.NoError(t, err)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	tr := w.client.Transport(Alias(terminal))
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	conn := resp.Body.(io.ReadWriter)
	_, err = io.WriteString(conn, "ping")
	require.NoError(t, err)
	echo := make([]byte, 4)
	_, err = io.ReadFull(conn, echo)
	require.NoError(t, err)
	require.Equal(t, "ping", string(echo))
}

// TestWebSocketByDialer upgrades as a WebSocket library with a dial function does.
func TestWebSocketByDialer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	addr := w.upgradeServer(t)
	for _, protos := range [][]string{nil, {"http/1.1"}} {
		d := &Dialer{Provider: w.client, Alias: terminal, NextProtos: protos}
		conn, err := d.DialContext(t.Context(), "tcp", addr)
		require.NoError(t, err)
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		require.NoError(t, err)
		status, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(status, "HTTP/1.1 101 "), status)
		require.NoError(t, conn.Close())
	}
}
