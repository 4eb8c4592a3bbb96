// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package simterminals is an estate of payment terminals on one machine: TLS 1.2
// servers on addresses of the loopback network, each with a certificate of its
// own, that can lose their power and get it back. It stands in for terminals in
// the benchmark of a fleet and in an example, and for nothing else: its keys are
// in memory.
package simterminals

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// Suffix is what the device names of all terminals end with.
const Suffix = "terminals.example"

// A Fault is what is wrong with a terminal.
type Fault int

// The faults.
const (
	Healthy   Fault = iota
	Slow            // waits half a second before it answers
	Silent          // accepts connections and says nothing
	WrongName       // has the certificate of another terminal
	Expired         // has a certificate that is out of date
)

// An Estate is some terminals below one root.
type Estate struct {
	Terminals []*Terminal
}

// New makes n terminals, not yet started, with the serial numbers from first on
// and certificates below root. They accept the clients whose certificates chain to
// clients. Several processes can have parts of one estate.
func New(first, n int, root *testpki.CA, clients *x509.CertPool) *Estate {
	e := &Estate{}
	for i := first; i < first+n; i++ {
		e.Terminals = append(e.Terminals, &Terminal{
			Serial: fmt.Sprintf("%06d", i),
			// A free port of an address of its own, kept through power cuts.
			Addr:    fmt.Sprintf("127.%d.%d.%d:0", 1+i>>16&0x7f, i>>8&0xff, i&0xff),
			root:    root,
			clients: clients,
			conns:   map[net.Conn]struct{}{},
		})
	}
	return e
}

// PowerOn starts all terminals that are off.
func (e *Estate) PowerOn() error {
	var failed []error
	for _, t := range e.Terminals {
		failed = append(failed, t.PowerOn())
	}
	return errors.Join(failed...)
}

// PowerOff stops all terminals, as a power cut would.
func (e *Estate) PowerOff() {
	var off sync.WaitGroup
	for _, t := range e.Terminals {
		off.Go(t.PowerOff)
	}
	off.Wait()
}

// A Terminal is one server. It echoes what it is sent. Its methods are safe for
// concurrent use.
type Terminal struct {
	Serial string
	Addr   string // from the first PowerOn on: where it listens

	root    *testpki.CA
	clients *x509.CertPool

	mu       sync.Mutex
	fault    Fault
	config   *tls.Config
	listener net.Listener
	conns    map[net.Conn]struct{}
	serving  sync.WaitGroup
}

// Fail gives the terminal a fault, from the next PowerOn on.
func (t *Terminal) Fail(f Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fault, t.config = f, nil
}

// PowerOn starts a terminal. Sessions from before can be resumed, as with a
// terminal that keeps its ticket keys.
func (t *Terminal) PowerOn() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener != nil {
		return nil
	}
	if t.config == nil {
		t.config = t.newConfig()
	}
	ln, err := net.Listen("tcp", t.Addr)
	if err != nil {
		return err
	}
	t.listener, t.Addr = ln, ln.Addr().String()
	t.serving.Go(func() { t.accept(ln) })
	return nil
}

// PowerOff resets all connections and stops listening.
func (t *Terminal) PowerOff() {
	t.mu.Lock()
	if t.listener != nil {
		t.listener.Close()
		t.listener = nil
	}
	for conn := range t.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		conn.Close()
	}
	t.mu.Unlock()
	t.serving.Wait()
}

func (t *Terminal) newConfig() *tls.Config {
	name := t.Serial + "." + Suffix
	if t.fault == WrongName {
		name = "another." + Suffix
	}
	cert := t.root.Server(name)
	if t.fault == Expired {
		template := testpki.ServerTemplate(name)
		template.NotBefore, template.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		expired := t.root.Issue(template, cert.Leaf.PublicKey)
		cert.Certificate[0], cert.Leaf = expired.Raw, expired
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    t.clients,
		MinVersion:   tls.VersionTLS12,
		MaxVersion:   tls.VersionTLS12,
	}
}

func (t *Terminal) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		t.serving.Go(func() { t.serve(conn) })
	}
}

func (t *Terminal) serve(conn net.Conn) {
	defer conn.Close()
	t.mu.Lock()
	fault, config, off := t.fault, t.config, t.listener == nil
	if off {
		t.mu.Unlock()
		return
	}
	t.conns[conn] = struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.conns, conn)
		t.mu.Unlock()
	}()
	switch fault {
	case Silent:
		_, _ = io.Copy(io.Discard, conn)
		return
	case Slow:
		time.Sleep(500 * time.Millisecond)
	}
	echo(tls.Server(conn, config))
}

// echo needs little memory, as there are many.
func echo(conn *tls.Conn) {
	if conn.Handshake() != nil {
		return
	}
	buffer := make([]byte, 256)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}
