// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A client with room for one session forgets the older of two.
func TestSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.Sessions = 1
	first, second := w.listen(t), w.listen(t)
	d := &Dialer{Provider: w.client, Alias: terminal}
	require.False(t, d.Resumable(t.Context(), first.addr))
	for _, s := range []*echoServer{first, second} {
		conn, err := w.dial(t, s)
		require.NoError(t, err)
		ping(t, conn)
	}
	require.False(t, d.Resumable(t.Context(), first.addr))
	require.True(t, d.Resumable(t.Context(), second.addr))

	w.clock.advance(time.Hour)
	require.False(t, d.Resumable(t.Context(), second.addr), "too old")
	w.client = &Provider{Keys: w.keys, Trust: w.trust, Sessions: -1}
	_, err := w.dial(t, first)
	require.ErrorIs(t, err, ErrOutOfRange)
}

// There is nothing to resume where nothing is resumed, or nobody is who would.
func TestNotResumable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.client.SessionLifetime = -1
	s := w.listen(t)
	conn, err := w.dial(t, s)
	require.NoError(t, err)
	ping(t, conn)
	for name, d := range map[string]*Dialer{
		"no resumption":  {Provider: w.client, Alias: terminal},
		"unknown alias":  {Provider: w.client, Alias: "nobody"},
		"no certificate": {Provider: w.client, NoClientCertificate: true},
		"no provider":    {Alias: terminal},
	} {
		require.False(t, d.Resumable(t.Context(), s.addr), name)
	}
	require.False(t, (&Dialer{Provider: w.client, Alias: terminal}).Resumable(t.Context(), "no port"))
}
