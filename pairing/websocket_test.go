// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/fips140"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// upgrade opens a WebSocket as a stranger.
func (w *world) upgrade(t *testing.T, opts websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	l := &line{client: w.pos(t, "wss")}
	at, err := l.client.target()
	require.NoError(t, err)
	require.NoError(t, l.connect(t.Context(), at))
	t.Cleanup(l.close)
	opts.HTTPClient = l.http()
	conn, resp, err := dialWebSocket(t, at.String(), opts)
	if err == nil {
		t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, resp, err
}

// dialWebSocket works in FIPS mode too.
func dialWebSocket(t *testing.T, url string, opts websocket.DialOptions) (conn *websocket.Conn, resp *http.Response, err error) {
	t.Helper()
	fips140.WithoutEnforcement(func() { conn, resp, err = websocket.Dial(t.Context(), url, &opts) })
	return conn, resp, err
}

func TestWebSocketRefusals(t *testing.T) {
	t.Parallel()
	w := serve(t)
	code := w.tap(t)
	for name, test := range map[string]struct {
		kind websocket.MessageType
		text string
		code websocket.StatusCode
	}{
		"wrong code": {websocket.MessageText, body("1", otherCode(t, code)), 4403},
		"no JSON":    {websocket.MessageText, "hello", 4400},
		"binary":     {websocket.MessageBinary, body("1", code), 4400},
	} {
		t.Run(name, func(t *testing.T) {
			conn, resp, err := w.upgrade(t, websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover})
			require.NoError(t, err)
			require.Empty(t, resp.Header.Get("Sec-WebSocket-Extensions"), "no compression, whoever offers it")
			require.NoError(t, conn.Write(t.Context(), test.kind, []byte(test.text)))
			kind, text, err := conn.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, websocket.MessageText, kind)
			var e ErrorResponse
			require.NoError(t, json.Unmarshal(text, &e))
			require.Equal(t, "ErrorResponse", e.Type)
			_, _, err = conn.Read(t.Context())
			require.Equal(t, test.code, websocket.CloseStatus(err))
		})
	}
	conn, _, err := w.upgrade(t, websocket.DialOptions{})
	require.NoError(t, err)
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(strings.Repeat(" ", maxRequest+1))))
	_, _, err = conn.Read(t.Context())
	require.Error(t, err, "too large")

	conn, _, err = w.upgrade(t, websocket.DialOptions{})
	require.NoError(t, err)
	require.NoError(t, conn.CloseNow(), "says nothing and goes")

	_, resp, err := w.upgrade(t, websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://evil.test"}}})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Equal(t, code, w.State().Code)
	require.Empty(t, w.List())
}

// TestWebSocketSaysOneThing is done after a good answer.
func TestWebSocketSaysOneThing(t *testing.T) {
	t.Parallel()
	w := serve(t)
	conn, _, err := w.upgrade(t, websocket.DialOptions{})
	require.NoError(t, err)
	conn.SetReadLimit(maxBundle)
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(body("1", w.tap(t)))))
	_, text, err := conn.Read(t.Context())
	require.NoError(t, err)
	_, err = ParseBundle(text)
	require.NoError(t, err)
	_, _, err = conn.Read(t.Context())
	require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
}
