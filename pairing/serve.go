// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

const (
	maxHeader    = 16 << 10
	idleTime     = 3 * time.Minute // a payment may take 130 seconds between two requests
	farewellTime = 5 * time.Second
)

// Serve serves https and wss on the connections that ln accepts, until ctx ends
// or the Terminal is closed; then it closes ln and every connection and returns
// nil. A client may come without certificate, and can then only pair; one that it
// presents must be that of a paired POS, or the handshake fails. The token signs
// once per full handshake.
//
// Errors: [ErrIncomplete], an [*IssuerError] for a pairing CA that cannot issue
// (one that expires soon is logged), those of the Journal, of [hsmtls.ListenConfig]
// and of ln.
func (t *Terminal) Serve(ctx context.Context, ln net.Listener) error {
	s := t.state()
	tracked := &liveListener{Listener: ln, live: s.live}
	secure, err := t.listen(ctx, s, tracked)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer s.serving.unset(ln.Addr())
	defer t.watchTrust()()
	web := t.server()
	ending, cancel := context.WithCancel(ctx)
	defer cancel()
	var farewell sync.WaitGroup
	defer farewell.Wait()
	farewell.Go(func() {
		select {
		case <-ending.Done():
		case <-s.closed:
		}
		shutdown(web, tracked)
	})
	err = web.Serve(secure)
	cancel()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listen puts TLS on ln.
func (t *Terminal) listen(ctx context.Context, s *terminalState, ln *liveListener) (net.Listener, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	switch {
	case s.err != nil:
		return nil, s.err
	case t.Provider == nil || t.Provider.Keys == nil || t.Provider.Trust == nil:
		return nil, fmt.Errorf("%w: no provider, or one without keys or trust", ErrIncomplete)
	}
	if err := t.checkIssuer(); err != nil {
		return nil, err
	}
	if err := s.serving.rename(ctx, t, s.served); err != nil {
		return nil, err
	}
	config := &hsmtls.ListenConfig{Provider: s.served, Alias: t.Alias, AllowNoClientCertificate: true}
	secure, err := config.NewListener(ctx, ln)
	if err == nil {
		s.serving.add(ln.Addr())
	}
	return secure, err
}

// checkIssuer tells the log of a CA that expires soon, and the caller of anything
// worse.
func (t *Terminal) checkIssuer() error {
	err := t.Issuer.Check(t.now())
	if errors.Is(err, ErrExpiring) {
		t.log().Warn("pairing CA expires soon", slog.Any("error", err))
		return nil
	}
	return err
}

func (t *Terminal) server() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // a WebSocket needs it
	return &http.Server{
		Handler:                      t,
		Protocols:                    protocols,
		ConnContext:                  withConn,
		ReadHeaderTimeout:            requestTime,
		IdleTimeout:                  idleTime,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(t.log().Handler(), slog.LevelDebug),
	}
}

// shutdown lets requests under way come to their end, for a while.
func shutdown(web *http.Server, ln *liveListener) {
	ctx, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	if err := web.Shutdown(ctx); err != nil {
		_ = web.Close()
	}
	ln.closeAll() // those taken over for WebSockets
}
