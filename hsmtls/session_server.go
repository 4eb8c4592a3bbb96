// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import "crypto/tls"

// unwrap opens a ticket. A ticket that is not ours, too old or from another
// generation means a full handshake, which needs admission.
func (c *serverConn) unwrap(ticket []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
	born, gen, state, ok := c.tickets.open(ticket)
	if !ok || gen != c.gen || !young(born, c.p.now(), c.p.sessionLifetime()) {
		return nil, c.admit()
	}
	ss, err := tls.ParseSessionState(state)
	if err != nil {
		return nil, c.admit()
	}
	c.info.born = born
	return ss, nil
}

// wrap seals a ticket under the time of the original full handshake, so that
// the ticket re-issued on resumption does not stretch the session. The ticket of
// a stranger belongs to no generation and is never good.
func (c *serverConn) wrap(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	state, err := ss.Bytes()
	if err != nil {
		return nil, err
	}
	if !cs.DidResume {
		c.info.born = c.p.now()
	}
	if c.stranger(cs) {
		return c.tickets.seal(c.info.born, generation{}, state)
	}
	return c.tickets.seal(c.info.born, c.gen, state)
}
