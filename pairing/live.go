// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/x509"
	"net"
	"sync"
)

const (
	maxStrangers          = 128 // connections at a time that have not shown themselves to be of a POS
	maxStrangersPerSource = 32
	maxPerPOS             = 64 // connections of one POS at a time
)

// live are the open connections of a terminal. Those of a POS are known by
// certificate, also after a handler has taken them over for a WebSocket. It is
// safe for concurrent use.
type live struct {
	mu        sync.Mutex
	conns     map[*liveConn]struct{}
	strangers map[string]int // by source
	unknown   int
	byPOS     map[string]int // connections by id
}

func newLive() *live {
	return &live{conns: make(map[*liveConn]struct{}), strangers: make(map[string]int), byPOS: make(map[string]int)}
}

// A liveConn is the network connection below the TLS connection.
type liveConn struct {
	net.Conn
	live   *live
	source string
	via    *liveListener // that accepted it

	// Guarded by live.mu.
	gone bool
	cert *x509.Certificate // of the POS, nil for a stranger
	id   string
}

// liveAddr leads from a TLS connection, which passes the address through, back
// to the connection below.
type liveAddr struct {
	net.Addr
	conn *liveConn
}

// RemoteAddr returns the peer's address.
func (c *liveConn) RemoteAddr() net.Addr { return liveAddr{c.Conn.RemoteAddr(), c} }

// Close closes the connection and forgets it.
func (c *liveConn) Close() error {
	c.live.forget(c)
	return c.Conn.Close()
}

// accept adds a connection, or refuses to.
func (l *live) accept(conn net.Conn, via *liveListener) (*liveConn, bool) {
	c := &liveConn{Conn: conn, live: l, source: sourceOf(conn.RemoteAddr().String()), via: via}
	l.mu.Lock()
	defer l.mu.Unlock()
	if via.ended || l.unknown >= maxStrangers || l.strangers[c.source] >= maxStrangersPerSource {
		return nil, false
	}
	l.conns[c] = struct{}{}
	l.unknown++
	l.strangers[c.source]++
	return c, true
}

// mark notes that a connection is that of a POS, unless it has too many.
func (l *live) mark(c *liveConn, p POS) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == nil || c.gone {
		return true // there is nothing to count, or to close
	}
	if c.cert == nil {
		if l.byPOS[p.ID] >= maxPerPOS {
			return false
		}
		l.familiar(c)
		l.byPOS[p.ID]++
	}
	c.cert, c.id = p.Certificate, p.ID // a connection keeps its certificate
	return true
}

func (l *live) forget(c *liveConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.gone {
		return
	}
	c.gone = true
	delete(l.conns, c)
	if c.cert == nil {
		l.familiar(c)
	} else if l.byPOS[c.id]--; l.byPOS[c.id] <= 0 {
		delete(l.byPOS, c.id)
	}
}

// familiar takes c from the strangers.
func (l *live) familiar(c *liveConn) {
	l.unknown--
	if l.strangers[c.source]--; l.strangers[c.source] <= 0 {
		delete(l.strangers, c.source)
	}
}

// closeIf closes connections of POS.
func (l *live) closeIf(of func(POS) bool) int {
	l.mu.Lock()
	var ending []*liveConn
	for c := range l.conns {
		if c.cert != nil && of(POS{c.id, c.cert}) {
			ending = append(ending, c)
		}
	}
	l.mu.Unlock()
	for _, c := range ending {
		_ = c.Close() // it is the other side's to notice
	}
	return len(ending)
}

// A liveListener tracks what it accepts.
type liveListener struct {
	net.Listener
	live  *live
	ended bool // guarded by live.mu
}

// Accept returns the next connection there is room for.
func (l *liveListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, ok := l.live.accept(conn, l); ok {
			return c, nil
		}
		_ = conn.Close()
	}
}

// closeAll closes what the listener has accepted or is accepting, and nothing of
// another one.
func (l *liveListener) closeAll() {
	l.live.mu.Lock()
	l.ended = true
	var ending []*liveConn
	for c := range l.live.conns {
		if c.via == l {
			ending = append(ending, c)
		}
	}
	l.live.mu.Unlock()
	for _, c := range ending {
		_ = c.Close()
	}
}

type connKey struct{}

// withConn is for [http.Server].ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if addr, ok := c.RemoteAddr().(liveAddr); ok {
		return context.WithValue(ctx, connKey{}, addr.conn)
	}
	return ctx
}

func connFrom(ctx context.Context) *liveConn {
	c, _ := ctx.Value(connKey{}).(*liveConn)
	return c
}
