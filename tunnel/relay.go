// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// lastWords is how long a side that does not listen any more may go on talking.
const lastWords = 5 * time.Second

// bufferSize holds a full TLS record, and then some.
const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// forward carries bytes both ways until both directions have ended, and closes
// both sides.
func (l *link) forward(life context.Context) {
	stop := context.AfterFunc(life, func() { l.sever(ReasonDrained, nil) })
	defer stop()
	defer l.timeLimits()()
	var both sync.WaitGroup
	both.Go(func() { l.carry(l.out, l.in, &l.to, &l.t.tally.to) })
	both.Go(func() { l.carry(l.in, l.out, &l.from, &l.t.tally.from) })
	both.Wait()
	l.in.Close()
	l.out.Close()
}

// carry is one direction. Its end is handed on; that it breaks off, too.
func (l *link) carry(dst, src net.Conn, mine *atomic.Int64, all *atomic.Uint64) {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for {
		n, err := src.Read(buffer[:])
		l.touch()
		if n > 0 {
			written, failed := l.write(dst, buffer[:n])
			mine.Add(int64(written))
			all.Add(uint64(written))
			l.touch()
			if failed != nil {
				l.deaf(dst, failed)
				return
			}
		}
		switch {
		case err == io.EOF && l.wasReset(src):
			l.sever(ReasonBroken, syscall.ECONNRESET)
			return
		case err == io.EOF:
			closeWrite(dst)
			return
		case err != nil:
			l.sever(reasonOf(err), err)
			return
		}
	}
}

// write remembers a reset of the plain side: the system tells it once, and whoever
// reads afterwards is told an end.
func (l *link) write(dst net.Conn, b []byte) (int, error) {
	if _, plain := dst.(*net.TCPConn); !plain {
		return dst.Write(b)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	n, err := dst.Write(b)
	l.reset = l.reset || errors.Is(err, syscall.ECONNRESET)
	return n, err
}

// wasReset reports whether an end that was read is none. Where the connection is gone,
// a write to it does not last.
func (l *link) wasReset(src net.Conn) bool {
	if c, plain := src.(*net.TCPConn); !plain || c.CloseRead() == nil {
		return false
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.reset
}

// deaf is for a side that takes no more. It may have said why, so what it has sent
// is still carried, but it is not waited for.
func (l *link) deaf(side net.Conn, err error) {
	l.mu.Lock()
	if l.broken == nil {
		l.broken = err
	}
	l.mu.Unlock()
	_ = side.SetReadDeadline(time.Now().Add(lastWords))
}

// sever breaks both sides off.
func (l *link) sever(why Reason, err error) {
	l.fail(why, err)
	sever(l.in)
	sever(l.out)
}

// timeLimits ends a connection that is idle or too old. The Provider closes the TLS
// side of one that is too old by itself, but with close_notify; so the tunnel comes a
// little earlier.
func (l *link) timeLimits() (stop func()) {
	age := l.t.cfg.maxConnAge()
	age -= min(age/10, time.Second) + time.Since(l.began)
	old := time.AfterFunc(age, func() { l.sever(ReasonLifetime, hsmtls.ErrConnExpired) })
	l.touch()
	if l.t.cfg.idleTimeout() >= 0 {
		l.watchIdle()
	}
	return func() {
		old.Stop()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.over = true
		if l.idle != nil {
			l.idle.Stop()
		}
	}
}

// watchIdle comes back when the connection could be idle, if nothing moves from
// now on.
func (l *link) watchIdle() {
	left := l.t.cfg.idleTimeout() - (time.Since(l.began) - time.Duration(l.moved.Load()))
	if left <= 0 {
		l.sever(ReasonIdle, nil)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.idle = time.AfterFunc(left, l.watchIdle)
	}
}

func (l *link) touch() { l.moved.Store(int64(time.Since(l.began))) }

// closeWrite says that nothing more will come. If it cannot be said, reading from
// the same side tells why.
func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// sever closes a connection so that it does not look like the end of a stream:
// without close_notify, and TCP with a reset.
func sever(conn net.Conn) {
	switch c := conn.(type) {
	case *tls.Conn:
		c.NetConn().Close()
	case *net.TCPConn:
		_ = c.SetLinger(0)
		c.Close()
	default:
		c.Close()
	}
}
