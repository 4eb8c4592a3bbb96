// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/fips140"
	"errors"
	"log/slog"
	"net/http"

	"github.com/coder/websocket"
)

// pairWebSocket reads one text message, answers with one, and closes. The close
// code is 1000 after a bundle and 4000 plus the HTTP status after an
// [ErrorResponse].
func (t *Terminal) pairWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := accept(w, r)
	if err != nil {
		t.log().Debug("WebSocket refused", slog.String("source", r.RemoteAddr), slog.Any("error", err))
		return // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxRequest)
	ctx, cancel := lasting(r.Context()) // the server's context means nothing after the upgrade
	defer cancel()
	err = t.tryPairWebSocket(ctx, conn, r.RemoteAddr)
	switch {
	case err == nil:
		_ = conn.Close(websocket.StatusNormalClosure, "")
	case !errors.Is(err, errDelivery):
		refuseWebSocket(ctx, conn, refusalOf(err))
	}
}

// accept upgrades a request. FIPS enforcement is off for this step, which hashes
// with SHA-1 to no end of security (RFC 6455 section 1.3).
func accept(w http.ResponseWriter, r *http.Request) (conn *websocket.Conn, err error) {
	options := &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled}
	fips140.WithoutEnforcement(func() { conn, err = websocket.Accept(w, r, options) })
	return conn, err
}

func (t *Terminal) tryPairWebSocket(ctx context.Context, conn *websocket.Conn, source string) error {
	text, err := readMessage(ctx, conn)
	if err != nil {
		return err
	}
	req, err := parseRequest(text)
	if err != nil {
		return err
	}
	deliver := func(reply []byte) error { return writeMessage(ctx, conn, reply) }
	return t.exchange(source, deliver).pair(ctx, req)
}

func readMessage(ctx context.Context, conn *websocket.Conn) ([]byte, error) {
	soon, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	kind, text, err := conn.Read(soon)
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		return nil, refuseTooLarge
	case soon.Err() != nil:
		return nil, refuseSlow
	case err != nil:
		return nil, errors.Join(errDelivery, err) // nobody there to answer
	case kind != websocket.MessageText:
		return nil, ErrRequest
	}
	return text, nil
}

func writeMessage(ctx context.Context, conn *websocket.Conn, text []byte) error {
	soon, cancel := context.WithTimeout(ctx, deliveryTime)
	defer cancel()
	return conn.Write(soon, websocket.MessageText, text)
}

func refuseWebSocket(ctx context.Context, conn *websocket.Conn, r *refusal) {
	if writeMessage(ctx, conn, r.encode()) == nil { // the POS may be gone
		_ = conn.Close(websocket.StatusCode(closeCodeBase+r.status), "")
	}
}
