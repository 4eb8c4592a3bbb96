// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// web starts the HTTP server behind --http. It takes the connections that have
// proved who they are from the channel.
func (s *server) web() (*http.Server, chan net.Conn) {
	if !s.http {
		return nil, nil
	}
	ln := &handedOn{conns: make(chan net.Conn), closed: make(chan struct{})}
	web := &http.Server{
		Handler:           http.HandlerFunc(s.answer),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    1 << 16,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				s.forget(conn)
			}
		},
	}
	s.done.Go(func() { _ = web.Serve(ln) }) // ends with Shutdown
	return web, ln.conns
}

// A handedOn is a listener of connections that are accepted already.
type handedOn struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *handedOn) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *handedOn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *handedOn) Addr() net.Addr { return &net.TCPAddr{} }

// answer tells a client who it is.
func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	leaf := r.TLS.PeerCertificates[0]
	s.say(event{Event: "request", Address: r.RemoteAddr, Subject: leaf.Subject.String(), Method: r.Method, Path: r.URL.Path})
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s %s\nclient: %s\nnames: %s\n", clean(r.Method), clean(r.URL.Path),
		cell(leaf.Subject.String()), joined(alternativeNames(leaf)))
}
