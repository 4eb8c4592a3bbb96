// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"container/list"
	"crypto/tls"
	"sync"
	"time"
)

// sessionKey is what a session belongs to. crypto/tls would use the server name
// alone, so that another alias, address or policy would silently resume it.
type sessionKey struct {
	addr, name, alias string
	gen               generation
}

// session is a resumable session and the time of its original full handshake.
type session struct {
	key   sessionKey
	state *tls.ClientSessionState
	born  time.Time
}

// sessionStore holds the sessions of a Provider. It is safe for concurrent use.
type sessionStore struct {
	mu    sync.Mutex
	max   int
	order *list.List // of *session, most recently used first
	byKey map[sessionKey]*list.Element
}

func newSessionStore(max int) *sessionStore {
	return &sessionStore{max: max, order: list.New(), byKey: make(map[sessionKey]*list.Element)}
}

func (s *sessionStore) get(key sessionKey) (*session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.byKey[key]
	if !ok {
		return nil, false
	}
	s.order.MoveToFront(e)
	return e.Value.(*session), true
}

// put keeps n unless a session of a younger handshake is already there.
func (s *sessionStore) put(n *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byKey[n.key]; ok {
		if !e.Value.(*session).born.After(n.born) {
			e.Value = n
		}
		s.order.MoveToFront(e)
		return
	}
	s.byKey[n.key] = s.order.PushFront(n)
	for s.order.Len() > s.max {
		s.remove(s.order.Back())
	}
}

func (s *sessionStore) drop(key sessionKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.byKey[key]; ok {
		s.remove(e)
	}
}

// dropAlias forgets what alias may resume, whatever its generation.
func (s *sessionStore) dropAlias(alias string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, e := range s.byKey {
		if key.alias == alias {
			s.remove(e)
		}
	}
}

func (s *sessionStore) remove(e *list.Element) {
	s.order.Remove(e)
	delete(s.byKey, e.Value.(*session).key)
}

// clientSession is the [tls.ClientSessionCache] of one connection. It exists
// because the age of a session counts from its full handshake, and only a
// per-connection cache can tell which entry the ticket now stored was resumed
// from: each resumption re-issues the ticket.
type clientSession struct {
	store    *sessionStore
	key      sessionKey
	now      func() time.Time
	lifetime time.Duration
	info     *handshakeInfo
	offered  time.Time // birth of the session offered to the server
}

var _ tls.ClientSessionCache = (*clientSession)(nil)

// Get returns the session to offer, if it is young enough. The key crypto/tls
// asks for is ignored in favour of the connection's own.
func (c *clientSession) Get(string) (*tls.ClientSessionState, bool) {
	s, ok := c.store.get(c.key)
	if !ok {
		return nil, false
	}
	if !young(s.born, c.now(), c.lifetime) {
		c.store.drop(c.key)
		return nil, false
	}
	c.offered = s.born
	return s.state, true
}

// Put keeps a session under the time of its full handshake. A nil session
// forgets it, and one without mutual authentication is not kept.
func (c *clientSession) Put(_ string, state *tls.ClientSessionState) {
	switch {
	case state == nil:
		c.store.drop(c.key)
	case c.info.mutual:
		c.store.put(&session{key: c.key, state: state, born: c.info.born})
	}
}

// young reports whether a session born then may be resumed now. A clock that
// went backwards ends it.
func young(born, now time.Time, lifetime time.Duration) bool {
	age := now.Sub(born)
	return age >= 0 && age < lifetime
}
