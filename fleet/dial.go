// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// Dial connects to a terminal and has it prove its device name. The connection is
// a *tls.Conn. It waits for a place among the handshakes under way as long as ctx
// allows; of several that want one terminal, one is in the queue at a time.
//
// Errors are [ErrUnknown], a [*PausedError], and those of [hsmtls.Dialer]. The
// latter count as failures of the terminal, unless it was ctx that ended, or the
// token that did not sign.
func (f *Fleet) Dial(ctx context.Context, serial string) (net.Conn, error) {
	return f.dial(ctx, serial, nil)
}

func (f *Fleet) dial(ctx context.Context, serial string, protos []string) (net.Conn, error) {
	t, err := f.find(serial)
	if err != nil {
		return nil, err
	}
	if err := f.paused(t); err != nil {
		return nil, err
	}
	leave, err := f.queue(ctx, t, serial)
	if err != nil {
		return nil, err
	}
	defer leave()
	at, err := f.begin(t)
	if err != nil {
		return nil, err
	}
	conn, counted, err := f.connect(ctx, t, protos)
	f.end(t, at, counted, err, ctx.Err() == nil)
	return conn, err
}

// ours reports whether it was not the terminal that failed.
func ours(err error) bool {
	for _, own := range []error{hsmtls.ErrSignTimeout, hsmtls.ErrNotSigned, hsmtls.ErrIncomplete, hsmtls.ErrOutOfRange} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// queue waits for the turn of the terminal and then for a place of the fleet. A
// channel serves those who wait in the order of their coming.
func (f *Fleet) queue(ctx context.Context, t *terminal, serial string) (leave func(), err error) {
	f.update(t, func() { t.waiting++ })
	defer func() {
		if err != nil {
			f.update(t, func() { t.waiting-- })
		}
	}()
	select {
	case t.turn <- struct{}{}:
	case <-t.gone:
		return nil, unknown(serial)
	case <-ctx.Done():
		return nil, fmt.Errorf("fleet: waiting for terminal %s: %w", serial, context.Cause(ctx))
	}
	places := f.places(ctx, t)
	select {
	case places <- struct{}{}:
		return func() { <-places; <-t.turn }, nil
	case <-t.gone:
		<-t.turn
		return nil, unknown(serial)
	case <-ctx.Done():
		<-t.turn
		return nil, fmt.Errorf("fleet: waiting for a handshake with terminal %s: %w", serial, context.Cause(ctx))
	}
}

// places are those that a handshake with the terminal has to have one of.
func (f *Fleet) places(ctx context.Context, t *terminal) chan struct{} {
	d, addr := f.dialer(t, nil)
	if d.Resumable(ctx, addr) {
		return f.resuming
	}
	return f.full
}

// dialer returns what dials the terminal where it is now.
func (f *Fleet) dialer(t *terminal, protos []string) (d hsmtls.Dialer, addr string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return hsmtls.Dialer{
		Provider:   f.Provider,
		Alias:      t.Alias,
		ServerName: f.DeviceName(t.Serial),
		NextProtos: protos,
	}, t.Addr
}

// DeviceName returns the name that a terminal has to prove.
func (f *Fleet) DeviceName(serial string) string {
	return strings.ToLower(serial) + "." + strings.ToLower(f.Suffix)
}

// connect dials. The counted connection is nil if there is none.
func (f *Fleet) connect(ctx context.Context, t *terminal, protos []string) (net.Conn, *countedConn, error) {
	d, addr := f.dialer(t, protos)
	var counted *countedConn
	d.NetDial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		counted = &countedConn{Conn: raw}
		return counted, nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.dialTimeout())
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", addr)
	return conn, counted, err
}

// A countedConn says when it is closed.
type countedConn struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	tell   func()
}

// Close closes the connection, and says so the first time.
func (c *countedConn) Close() error {
	c.mu.Lock()
	tell := c.tell
	c.closed, c.tell = true, nil
	c.mu.Unlock()
	if tell != nil {
		tell()
	}
	return c.Conn.Close()
}

// onClose has tell called when the connection is closed. It returns false if it is
// closed already, and tell is never called.
func (c *countedConn) onClose(tell func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.tell = tell
	}
	return !c.closed
}
