// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
)

// ErrPeerWithdrawn is returned by Read on a connection that was closed because its
// peer is not accepted any more: see [Provider.Recheck].
var ErrPeerWithdrawn = errors.New("hsmtls: peer is not trusted any more")

// A trustWatcher is Trust that tells when it may judge otherwise than before.
type trustWatcher interface {
	Watch(changed func()) (stop func())
}

// A peer is the other side of an open connection.
type peer struct {
	conn  *tls.Conn
	name  string
	usage x509.ExtKeyUsage
}

// peers are the open connections whose peer has been accepted. Trust is watched
// while there are some. The zero value has none; it is safe for concurrent use.
type peers struct {
	pending atomic.Bool // a check is going to begin

	mu   sync.Mutex
	all  map[*wireConn]peer
	stop func()
}

// Recheck asks Trust and VerifyPeer again about the peer of every open connection
// and closes those that are not accepted any more: their Read returns
// [ErrPeerWithdrawn]. It returns how many. Certificates that are out of date
// meanwhile are not accepted either.
//
// Trust that has a method Watch(func()) (stop func()), as a truststore.Store has,
// causes it by itself. It is about connections of a [Dialer], a transport or a
// listener of this package, not about those of a bare configuration, nor about
// clients that were allowed to present no certificate.
func (p *Provider) Recheck() int {
	if p.checkAnonymous() != nil {
		return 0
	}
	s := &p.state().peers
	s.pending.Store(false)
	s.mu.Lock()
	all := maps.Clone(s.all)
	s.mu.Unlock()
	var closing sync.WaitGroup
	closed := 0
	for w, one := range all {
		if err := p.standing(one); err != nil {
			closed++
			closing.Go(func() { w.expire(ErrPeerWithdrawn) }) // a peer that does not read delays its own only
		}
	}
	closing.Wait()
	if closed > 0 {
		p.logger().Warn("connections closed: peers are not trusted any more", slog.Int("connections", closed))
	}
	return closed
}

// standing reports why a peer is not accepted any more.
func (p *Provider) standing(one peer) error {
	_, err := p.verifyPeer(one.conn.ConnectionState(), one.name, one.usage)
	return err
}

// recheckSoon has one check under way or about to begin.
func (p *Provider) recheckSoon() {
	if !p.state().peers.pending.Swap(true) {
		go p.Recheck()
	}
}

// keepPeer remembers a connection whose handshake has succeeded. What Trust has
// changed since it accepted the peer is made up for.
func (p *Provider) keepPeer(w *wireConn, one peer) {
	if !one.conn.ConnectionState().HandshakeComplete || len(w.info.chain) == 0 { // waits for the handshake
		return
	}
	s := &p.state().peers
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.forget = func() { s.remove(w) }
	s.add(p, w, one)
	w.mu.Unlock()
	if p.trustGeneration() != w.info.trust {
		p.recheckSoon()
	}
}

func (s *peers) add(p *Provider, w *wireConn, one peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*wireConn]peer)
	}
	s.all[w] = one
	if trust, ok := p.Trust.(trustWatcher); ok && s.stop == nil {
		s.stop = trust.Watch(p.recheckSoon)
	}
}

func (s *peers) remove(w *wireConn) {
	s.mu.Lock()
	delete(s.all, w)
	var stop func()
	if len(s.all) == 0 {
		stop, s.stop = s.stop, nil
	}
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
}
