// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// lastWords is how long open HTTP requests may take after a signal.
const lastWords = 3 * time.Second

// A serveRun is the flags of serve.
type serveRun struct {
	app        *app
	operations operations
	address    string
	alias      string
	http       bool
}

func (a *app) serveCommand() *cobra.Command {
	r := &serveRun{app: a, operations: operations{app: a}}
	var echo bool
	c := &cobra.Command{
		Use:   "serve ADDR",
		Short: "accept connections with mutual TLS",
		Long: `serve accepts connections with mutual TLS, says "listening on ADDR" on standard
output, and on standard error who connects and who is refused. It sends back what it
gets (--echo, which is the default), or answers each HTTP request with who has asked
(--http). It ends with SIGINT or SIGTERM and exit status 0.

What other programs change on the token, in the trust store or of its own certificate,
comes into force every --refresh, and at once with SIGHUP. Connections stay.

` + operationsHelp + `

JSON: one object a line: event (listening, admin, accepted, refused, request, refreshed),
address, and subject, error, method and path where there are some.`,
		Example:           "  hsmtls serve 127.0.0.1:8443 --alias terminal_pub --http",
		Args:              takes("ADDR"),
		ValidArgsFunction: completes(),
		RunE: a.does(func(ctx context.Context, args []string) error {
			r.address = args[0]
			if err := r.check(); err != nil {
				return err
			}
			return a.withTrust(ctx, func(tok *hsm.Token, trust *truststore.Store) error { return r.run(ctx, tok, trust) })
		}),
	}
	c.Flags().StringVar(&r.alias, "alias", "", "`ALIAS` of the certificate to present")
	c.Flags().BoolVar(&echo, "echo", false, "send back what comes (default)")
	c.Flags().BoolVar(&r.http, "http", false, "answer HTTP requests")
	r.operations.flags(c)
	c.MarkFlagsMutuallyExclusive("echo", "http")
	mustHave(c, "alias")
	return c
}

func (r *serveRun) check() error {
	if _, _, err := net.SplitHostPort(r.address); err != nil {
		return usagef("invalid argument %q for ADDR: %w", r.address, err)
	}
	return r.operations.check()
}

// run is the command, once it has its token.
func (r *serveRun) run(ctx context.Context, tok *hsm.Token, trust *truststore.Store) error {
	keys := keystore.New(tok)
	p := &hsmtls.Provider{Keys: keys, Trust: trust} // refusals are reported here, with the address
	r.operations.observe(p)
	ln, err := (&hsmtls.ListenConfig{Provider: p, Alias: r.alias}).Listen(ctx, "tcp", r.address)
	if err != nil {
		return err
	}
	s := &server{app: r.app, http: r.http, open: make(map[net.Conn]struct{})}
	run := running{
		command: "serve", alias: r.alias, token: tok, keys: keys, trust: trust, provider: p, open: s.count,
		say: func(address string) { s.say(event{Event: "admin", Address: address}) },
	}
	stop, err := r.operations.start(ctx, run)
	if err != nil {
		ln.Close()
		return err
	}
	defer stop()
	f := r.operations.follower(run)
	f.read = func() { s.say(event{Event: "refreshed"}) }
	f.failed = func(err error) { r.app.warn("%s: %v", unread, err) }
	defer f.start(ctx)()
	s.say(event{Event: "listening", Address: ln.Addr().String()})
	r.operations.enter(ready)
	return s.serve(ctx, ln)
}

// A server is a running serve.
type server struct {
	app  *app
	http bool

	saying sync.Mutex
	mu     sync.Mutex
	open   map[net.Conn]struct{}
	done   sync.WaitGroup
}

// serve returns when ctx ends and everything is closed.
func (s *server) serve(ctx context.Context, ln net.Listener) error {
	accepting, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(accepting, func() { ln.Close() })
	web, conns := s.web()
	for {
		conn, err := ln.Accept()
		if err != nil {
			cancel()
			s.closeAll(web)
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		s.track(conn)
		s.done.Go(func() { s.greet(accepting, conn.(*tls.Conn), conns) })
	}
}

// greet performs the handshake and hands the connection on.
func (s *server) greet(ctx context.Context, conn *tls.Conn, conns chan<- net.Conn) {
	address := conn.RemoteAddr().String()
	if err := conn.HandshakeContext(ctx); err != nil {
		s.forget(conn)
		s.say(event{Event: "refused", Address: address, Error: sentence(err)})
		return
	}
	s.say(event{Event: "accepted", Address: address, Subject: subjectOf(conn)})
	if s.http {
		select {
		case conns <- conn:
		case <-ctx.Done():
		}
		return
	}
	defer s.forget(conn)
	_, _ = io.Copy(conn, conn) // the client may go as it likes
}

func subjectOf(conn *tls.Conn) string {
	return conn.ConnectionState().PeerCertificates[0].Subject.String()
}

func (s *server) track(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[conn] = struct{}{}
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *server) forget(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}

// closeAll ends what is left, HTTP requests after a moment.
func (s *server) closeAll(web *http.Server) {
	if web != nil {
		ctx, cancel := context.WithTimeout(context.Background(), lastWords)
		defer cancel()
		_ = web.Shutdown(ctx)
	}
	s.mu.Lock()
	for conn := range s.open {
		conn.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}

// An event is one thing that happened to a server.
type event struct {
	Event   string `json:"event"`
	Address string `json:"address,omitempty"`
	Subject string `json:"subject,omitempty"`
	Error   string `json:"error,omitempty"`
	Method  string `json:"method,omitempty"`
	Path    string `json:"path,omitempty"`
}

// say prints an event. That it listens is the result of the command.
func (s *server) say(e event) {
	s.saying.Lock()
	defer s.saying.Unlock()
	switch {
	case s.app.globals.json:
		_ = s.app.showLine(e) // nobody to tell
	case e.Event == "listening", e.Event == "admin":
		fmt.Fprintf(s.app.stdout, "%s on %s\n", e.Event, e.Address)
	case e.Event == "refreshed":
		fmt.Fprintln(s.app.stderr, "hsmtls: token read again")
	case e.Event == "refused":
		fmt.Fprintf(s.app.stderr, "hsmtls: refused %s: %s\n", e.Address, e.Error)
	case e.Event == "request":
		fmt.Fprintf(s.app.stderr, "hsmtls: %s %s from %s, %s\n", clean(e.Method), clean(e.Path), e.Address, cell(e.Subject))
	default:
		fmt.Fprintf(s.app.stderr, "hsmtls: accepted %s, %s\n", e.Address, cell(e.Subject))
	}
}
