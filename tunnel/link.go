// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// A link is one connection through a tunnel: what was accepted, and what was
// dialled for it.
type link struct {
	t      *Tunnel
	in     net.Conn
	out    net.Conn
	secure *tls.Conn // the one of both that is TLS; a client's is nil until dialled
	dial   func(ctx context.Context) (net.Conn, error)
	began  time.Time

	to, from atomic.Int64 // bytes carried to the target, and from it
	moved    atomic.Int64 // when the last byte was, since began

	writing sync.Mutex // to a plain side that is TCP
	reset   bool       // writing has found it so

	mu     sync.Mutex
	why    Reason // empty while nothing is wrong
	err    error  // what was wrong, nil for nothing
	broken error  // of a write; the reading side may know better
	idle   *time.Timer
	over   bool // nothing is watched any more
}

// run takes the connection through its life.
func (l *link) run(life context.Context) {
	opened := l.begin(life)
	if l.out != nil {
		l.forward(life)
	}
	why, err := l.verdict()
	l.t.tally.end(opened, why)
	l.record(why, err)
}

// begin brings both sides about, or says why not. opened tells whether the
// connection got a place.
func (l *link) begin(life context.Context) (opened bool) {
	if err := l.prove(life); err != nil {
		return l.refuse(life, ReasonHandshake, err, false)
	}
	if !l.t.tally.open(l.t.cfg.maxConns()) {
		return l.refuse(life, ReasonFull, nil, false)
	}
	out, err := l.dial(life)
	if err != nil {
		return l.refuse(life, ReasonTarget, err, true)
	}
	l.out = out
	return true
}

func (l *link) refuse(life context.Context, why Reason, err error, opened bool) bool {
	if life.Err() != nil {
		why = ReasonDrained
	}
	l.fail(why, err)
	sever(l.in)
	return opened
}

// prove performs a server's handshake.
func (l *link) prove(life context.Context) error {
	if l.t.cfg.Mode == Client {
		return nil
	}
	return l.secure.HandshakeContext(life)
}

// dialPlain connects a server to its target.
func (l *link) dialPlain(ctx context.Context) (net.Conn, error) {
	cfg := &l.t.cfg
	conn, err := l.t.target.dial(ctx, cfg.connectTimeout(), !cfg.UnsafePlain)
	if err != nil || !cfg.ProxyProtocol {
		return conn, err
	}
	if err := introduce(conn, proxyHeader(l.secure), cfg.connectTimeout()); err != nil {
		sever(conn)
		return nil, err
	}
	return conn, nil
}

// introduce writes the header, in time.
func introduce(conn net.Conn, header []byte, timeout time.Duration) error {
	if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := conn.Write(header); err != nil {
		return err
	}
	return conn.SetWriteDeadline(time.Time{})
}

// dialTLS connects a client to its server.
func (l *link) dialTLS(ctx context.Context) (net.Conn, error) {
	conn, err := l.t.dialer.DialContext(ctx, l.t.target.network, l.t.target.addr)
	if err != nil {
		return nil, err
	}
	l.secure = conn.(*tls.Conn)
	return conn, nil
}

// fail says what ends the connection. The first to know it is right.
func (l *link) fail(why Reason, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == "" {
		l.why, l.err = why, err
	}
}

// verdict is for when everything is over.
func (l *link) verdict() (Reason, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.why == "" && l.broken == nil:
		return ReasonClosed, nil
	case l.why == "" || l.why == ReasonBroken && l.broken != nil:
		return ReasonBroken, l.broken
	}
	return l.why, l.err
}

// reasonOf says why a stream broke off.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, hsmtls.ErrConnExpired):
		return ReasonLifetime
	case errors.Is(err, hsmtls.ErrPeerWithdrawn):
		return ReasonWithdrawn
	}
	return ReasonBroken
}

// record logs what became of the connection.
func (l *link) record(why Reason, err error) {
	attrs := []slog.Attr{
		slog.String("reason", string(why)),
		slog.String("from", from(l.in)),
		slog.String("target", l.t.cfg.Target),
		slog.Int64("to_target", l.to.Load()),
		slog.Int64("from_target", l.from.Load()),
		slog.Duration("duration", time.Since(l.began).Round(time.Microsecond)),
	}
	attrs = append(attrs, l.peer()...)
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	message := "connection closed"
	if l.out == nil {
		message = "connection refused"
	}
	l.t.log().LogAttrs(context.Background(), slog.LevelInfo, message, attrs...)
}

// peer says who was on the TLS side, if that was proved.
func (l *link) peer() []slog.Attr {
	if l.secure == nil {
		return nil
	}
	cs := l.secure.ConnectionState()
	if !cs.HandshakeComplete || len(cs.PeerCertificates) == 0 {
		return nil
	}
	leaf := cs.PeerCertificates[0]
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return []slog.Attr{
		slog.String("peer", leaf.Subject.String()),
		slog.String("serial", leaf.SerialNumber.Text(16)),
		slog.String("spki", hex.EncodeToString(sum[:])),
	}
}
