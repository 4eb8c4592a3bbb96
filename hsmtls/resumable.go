// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import "context"

// Resumable reports whether there is a session with the server at addr that a
// connection dialled now would offer. The server may still want a full handshake.
// The token is not asked.
func (d *Dialer) Resumable(ctx context.Context, addr string) bool {
	id, err := d.identity(ctx)
	if err != nil || id == nil || !d.Provider.resumes() {
		return false
	}
	name, err := d.serverName(addr)
	if err != nil {
		return false
	}
	c := d.Provider.newClientConn(id, name, addr)
	_, ok := c.sess.Get("")
	return ok
}
