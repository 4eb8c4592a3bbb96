// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// load keeps connecting through a client tunnel until stop, which returns the first
// error.
func load(addr string) (stop func() error) {
	var ended atomic.Bool
	var first atomic.Pointer[error]
	var working sync.WaitGroup
	for range 4 {
		working.Go(func() {
			for !ended.Load() {
				if err := once(addr); err != nil {
					first.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	return func() error {
		ended.Store(true)
		working.Wait()
		if err := first.Load(); err != nil {
			return *err
		}
		return nil
	}
}

// TestReloadUnderLoad renews both certificates while connections come and go.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.serverConfig(w.target(echo))
	s := w.start(server)
	client := w.clientConfig(s.address())
	c := w.start(client)
	held := w.plain("tcp", c.address())
	require.NoError(t, ping(held))
	var last *tls.Certificate
	stop := load(c.address())
	for range 10 {
		newServer, newClient := w.root.Server(host), w.root.Client("till")
		w.server.set(&newServer)
		w.client.set(&newClient)
		require.NoError(t, server.Provider.Refresh(t.Context()))
		require.NoError(t, client.Provider.Refresh(t.Context()))
		for range 5 {
			require.NoError(t, once(c.address()))
		}
		last = &newServer
	}
	require.NoError(t, stop())
	require.NoError(t, ping(held))
	conn := w.mustDial(s.address()).(*tls.Conn)
	require.Equal(t, last.Certificate[0], conn.ConnectionState().PeerCertificates[0].Raw)
	for _, r := range []*running{s, c} {
		require.Zero(t, r.Status().Ended[ReasonHandshake]+r.Status().Ended[ReasonTarget]+r.Status().Ended[ReasonBroken])
	}
}

// TestBrokenReload keeps what there was, on both sides, until there is something
// better.
func TestBrokenReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := w.serverConfig(w.target(echo))
	s := w.start(server)
	client := w.clientConfig(s.address())
	client.Provider.SessionLifetime = -1
	c := w.start(client)
	require.NoError(t, once(c.address()))
	stranger := w.root.Server(host) // with another's key
	stranger.PrivateKey = w.root.Server(host).PrivateKey
	for _, broken := range []*tls.Certificate{nil, &stranger} {
		w.server.set(broken)
		require.Error(t, server.Provider.Refresh(t.Context()))
		require.NoError(t, once(c.address()))
	}
	w.client.set(nil)
	require.NoError(t, client.Provider.Refresh(t.Context()))
	require.NoError(t, once(c.address()))
	require.NoError(t, once(c.address()))
	c.said("certificate cannot be had any more, the last one is presented")

	renewed := w.root.Server(host)
	w.server.set(&renewed)
	require.NoError(t, server.Provider.Refresh(t.Context()))
	fresh := w.root.Client("till 2")
	w.client.set(&fresh)
	conn := w.mustDial(s.address()).(*tls.Conn)
	require.Equal(t, renewed.Certificate[0], conn.ConnectionState().PeerCertificates[0].Raw)
	require.NoError(t, once(c.address()))
}

// TestDrain lets connections finish, and takes no more.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.serverConfig(w.target(echo))
	cfg.DrainTimeout = time.Hour
	s := w.start(cfg)
	var conns []net.Conn
	for range 5 {
		conns = append(conns, w.mustDial(s.address()))
		require.NoError(t, ping(conns[len(conns)-1]))
	}
	s.drain()
	s.said("draining")
	require.Equal(t, Draining, s.Status().State)
	_, err := net.Dial("tcp", s.address())
	require.Error(t, err)
	for _, conn := range conns {
		require.NoError(t, ping(conn))
		closeWrite(conn)
		_, err := io.ReadAll(conn)
		require.NoError(t, err)
	}
	require.NoError(t, s.served())
	require.Equal(t, Ended, s.Status().State)
	require.EqualValues(t, 5, s.Status().Ended[ReasonClosed])
}

// TestDrainBreaksOff ends those that do not finish: busy ones, idle ones and one in its
// handshake.
func TestDrainBreaksOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.serverConfig(w.target(echo))
	cfg.DrainTimeout = -1
	s := w.start(cfg)
	idle, busy := strictDial(t, w, s.address()), strictDial(t, w, s.address())
	require.NoError(t, ping(idle))
	require.NoError(t, ping(busy))
	stranger := w.plain("tcp", s.address())
	var working sync.WaitGroup
	working.Go(func() {
		for ping(busy) == nil {
		}
	})
	s.drain()
	require.NoError(t, s.served())
	working.Wait()
	_, err := idle.Read(make([]byte, 1))
	require.Error(t, err)
	_, _ = io.ReadAll(stranger)
	require.GreaterOrEqual(t, s.Status().Ended[ReasonDrained], uint64(2))
	require.Zero(t, s.Status().Open+s.Status().Pending)
}

// TestDrainUnderLoad loses no connection that got through.
func TestDrainUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(w.serverConfig(w.target(echo)))
	c := w.start(w.clientConfig(s.address()))
	stop := load(c.address())
	for range 20 {
		require.NoError(t, once(c.address()))
	}
	c.drain()
	require.NoError(t, c.served())
	require.Error(t, once(c.address())) // nobody listens any more
	_ = stop()                          // which the load may have seen, or not
	status := c.Status()
	require.Zero(t, status.Open+status.Pending)
	require.Equal(t, status.Accepted, status.Ended[ReasonClosed])
}

func TestClosedTunnelSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(w.serverConfig(w.target(echo)))
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.served(), net.ErrClosed)
}
