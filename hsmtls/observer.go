// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// An Observer is told what a [Provider] has done, for metrics and an audit log. Its
// methods are called by many goroutines at once, in the path of the handshake or of
// the signature: they must return soon, and must not use the connection or the Provider.
type Observer interface {
	// Handshake is called once for each handshake that has come to its end, in
	// either role. A server's may come a moment after the application has its
	// connection.
	//
	// Connections that were not made by a [Dialer] or a listener of this package
	// are not seen, nor are those that a client closes without having sent a
	// ClientHello.
	Handshake(HandshakeEvent)
	// Signature is called after each signature of a handshake, whoever made the
	// connection, and for those that were refused or given up.
	Signature(SignatureEvent)
}

// A HandshakeEvent is a handshake that has come to its end.
type HandshakeEvent struct {
	// Server tells our role.
	Server bool
	// Alias is the identity we present, empty for none.
	Alias string
	// Address is the peer's network address, Name what a client wants its server
	// to prove; empty for a server.
	Address, Name string
	// Duration counts from the established network connection on.
	Duration time.Duration
	// Report is what was agreed on; zero if Err is not nil.
	Report ConnReport
	// Err says why there is no connection: the errors of [Provider.Dial] or of
	// [ListenConfig.Listen]. Nil means success.
	Err error
}

// A SignatureEvent is an answer that a handshake got from a key, or did not get.
type SignatureEvent struct {
	// Alias is the certificate alias.
	Alias string
	// Duration is how long the handshake waited, a queue included.
	Duration time.Duration
	// Err is nil if there is a signature.
	Err error
}

// observeDial tells of a client's handshake.
func (d *Dialer) observeDial(raw net.Conn, name string, began time.Time, conn *tls.Conn, err error) {
	o := d.Provider.Observer
	if o == nil {
		return
	}
	e := HandshakeEvent{Alias: d.Alias, Address: remoteAddress(raw), Name: name, Duration: time.Since(began), Err: err}
	if err == nil {
		e.Report, e.Err = Report(conn)
	}
	o.Handshake(e)
}

// observing returns what tells of a server's handshake, the first time it is called;
// nil if nobody wants to know. A nil error means that the connection knows the result.
func (l *listener) observing(wire *wireConn, conn *tls.Conn) func(error) {
	o := l.p.Observer
	if o == nil {
		return nil
	}
	began := time.Now()
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			e := HandshakeEvent{Server: true, Alias: l.alias, Address: remoteAddress(wire.Conn), Duration: time.Since(began), Err: err}
			if err == nil {
				e.Err = wire.verdict(conn)
			}
			if e.Err == nil {
				e.Report, e.Err = Report(conn)
			}
			o.Handshake(e)
		})
	}
}

// verdict says how a server's handshake has ended. It waits for that.
func (w *wireConn) verdict(conn *tls.Conn) error {
	err := conn.Handshake() // which was begun by another: this is its result
	if refused := w.refused.Load(); err != nil && refused != nil {
		return *refused
	}
	return err
}

// observeEnd tells the observer when the handshake of ctx is over.
func (w *wireConn) observeEnd(ctx context.Context) {
	w.unheard.Store(false)
	if w.observed != nil {
		context.AfterFunc(ctx, func() { w.observed(nil) })
	}
}

// observeUnheard tells of a handshake that crypto/tls has ended before it knew of
// the observer: it could not read the ClientHello.
func (w *wireConn) observeUnheard() {
	if w.unheard.Swap(false) && w.observed != nil {
		go w.observed(nil) // waits for the end of the handshake, which may wait for us
	}
}

// observe tells why there is no connection, for reasons that crypto/tls does not know.
func (w *wireConn) observe(err error) {
	if w.observed != nil {
		w.observed(err)
	}
}

func (p *Provider) observeSignature(alias string, began time.Time, err error) {
	if p.Observer != nil {
		p.Observer.Signature(SignatureEvent{Alias: alias, Duration: time.Since(began), Err: err})
	}
}

func remoteAddress(conn net.Conn) string {
	if addr := conn.RemoteAddr(); addr != nil {
		return addr.String()
	}
	return ""
}
