// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// role says which side of the connection is ours.
type role bool

const (
	roleClient role = false
	roleServer role = true
)

// maxConnBytes is how many bytes a connection may carry in one direction. It
// keeps AES-GCM below 2^24.5 full records per key (RFC 9325 section 4.4, RFC
// 8446 section 5.5): 2^38 bytes are 2^34 blocks however they are cut into
// records, and 2^24.5 records of 2^10 blocks are more.
const maxConnBytes = 1 << 38

// alertPatience bounds the last write of a refused connection.
const alertPatience = time.Second

// wireConn is the network connection under a TLS connection of ours. It shows
// both directions to the guard until the guard has seen enough, fails with the
// guard's verdict, and ends the connection when its time or bytes are used up.
//
// As under any [tls.Conn], one goroutine reads and one writes; during the
// handshake they are the same, so the guard needs no lock.
type wireConn struct {
	net.Conn
	guard    *guard
	maxBytes int64
	maxAge   time.Duration  // from the end of a server's handshake on
	info     *handshakeInfo // of the handshake, nil until it began

	fromPeer, toPeer *stream
	read, written    int64

	mu     sync.Mutex
	timer  *time.Timer
	end    func() error // closes the TLS connection
	closed bool
	forget func() // called when the connection is closed, nil for nothing to do

	accepted func()      // called after a server's handshake, nil for nothing to do
	observed func(error) // told of a server's handshake, nil for nobody wants to know
	unheard  atomic.Bool // a ClientHello came, which crypto/tls has not handed on yet

	cause   atomic.Pointer[error] // why we ended it, nil until then
	refused atomic.Pointer[error] // why we refused the handshake, nil until then
}

func newWireConn(conn net.Conn, r role, policy Policy) *wireConn {
	g := newGuard(policy)
	w := &wireConn{Conn: conn, guard: g, maxBytes: maxConnBytes, fromPeer: &g.server, toPeer: &g.client}
	if r == roleServer {
		w.fromPeer, w.toPeer = w.toPeer, w.fromPeer
	}
	return w
}

// Read reads from the network. What the guard refuses is not handed on, now or
// later.
func (w *wireConn) Read(b []byte) (int, error) {
	if w.guard.refusal != nil {
		return 0, w.guard.refusal
	}
	n, err := w.Conn.Read(b)
	if cause := w.cause.Load(); cause != nil {
		return 0, *cause
	}
	if !w.fromPeer.done {
		if refusal := w.inspect(w.fromPeer, b[:n]); refusal != nil {
			return 0, refusal
		}
		w.unheard.Store(w.guard.seen.clientHello && w.info == nil)
	}
	if w.read += int64(n); w.read > w.maxBytes {
		return 0, w.usedUp()
	}
	return n, err
}

// Write writes to the network, unless the guard refuses.
func (w *wireConn) Write(b []byte) (int, error) {
	if w.guard.refusal != nil {
		return 0, w.guard.refusal
	}
	if !w.toPeer.done {
		if refusal := w.inspect(w.toPeer, b); refusal != nil {
			return 0, refusal
		}
	}
	if w.written += int64(len(b)); w.written > w.maxBytes {
		return 0, w.usedUp()
	}
	n, err := w.Conn.Write(b)
	if cause := w.cause.Load(); err != nil && cause != nil {
		return n, *cause
	}
	return n, err
}

// usedUp ends a connection that has carried all it may. It does not wait for that:
// the caller holds locks of the TLS connection.
func (w *wireConn) usedUp() error {
	go w.expire(ErrConnExpired)
	return ErrConnExpired
}

// inspect shows b to the guard. A refusal is told to the peer by an alert, which
// goes in the clear as long as we have sent nothing encrypted: crypto/tls sends
// none for an error of its connection.
func (w *wireConn) inspect(s *stream, b []byte) error {
	err := w.guard.inspect(s, b)
	if err == nil {
		return nil
	}
	w.refused.Store(&err)
	w.observe(err)
	if !w.toPeer.done {
		w.Conn.SetWriteDeadline(time.Now().Add(alertPatience))
		w.Conn.Write(fatalAlert(err))
	}
	return err
}

// fatalAlert returns the alert record that answers a refusal (RFC 5246 section 7.2).
func fatalAlert(refusal error) []byte {
	description := uint8(alertHandshakeFailure)
	var broken *PolicyError
	if errors.As(refusal, &broken) {
		description = rules[broken.Rule].alert
	}
	return []byte{recordTypeAlert, 3, 3, 0, 2, alertLevelFatal, description}
}

// expireAfter ends the connection with cause after d, by calling end.
func (w *wireConn) expireAfter(d time.Duration, cause error, end func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end = end
	w.arm(d, cause)
}

// handshakeOver replaces the time limit of the handshake by that of the
// connection.
func (w *wireConn) handshakeOver() {
	w.mu.Lock()
	w.arm(w.maxAge, ErrConnExpired)
	w.mu.Unlock()
	if w.accepted != nil {
		w.accepted()
	}
}

// arm needs w.mu. A connection already ended stays so.
func (w *wireConn) arm(d time.Duration, cause error) {
	if w.closed || w.cause.Load() != nil {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(d, func() { w.expire(cause) })
}

func (w *wireConn) expire(cause error) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.cause.Store(&cause)
	end := w.end
	w.mu.Unlock()
	w.observe(cause)
	end() // sends close_notify if it can, and comes back to Close
}

// Close closes the network connection and its timer.
func (w *wireConn) Close() error {
	w.mu.Lock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	forget := w.forget
	w.forget = nil
	w.mu.Unlock()
	if forget != nil {
		forget()
	}
	w.observeUnheard()
	return w.Conn.Close()
}
