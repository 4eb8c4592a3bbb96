// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// strictDial is dial for a client to whom a connection that breaks off is an error.
func strictDial(t *testing.T, w *world, addr string) net.Conn {
	t.Helper()
	d := hsmtls.Dialer{
		Provider: &hsmtls.Provider{Keys: w.client, Trust: w.client}, Alias: alias, ServerName: host,
		NetDial: (&Tunnel{}).dialRaw,
	}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.serverConfig(w.target(echo))
	cfg.Provider.HandshakeTimeout = 50 * time.Millisecond
	s := w.start(cfg)
	conn := w.plain("tcp", s.address())
	_, _ = io.ReadAll(conn)
	require.ErrorIs(t, cause(s.ended(ReasonHandshake)), hsmtls.ErrHandshakeTimeout)
	require.Zero(t, s.Status().Pending)
}

// TestStrangersDoNotFillIt has silent strangers take all that may be pending; those who
// are in stay in.
func TestStrangersDoNotFillIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.serverConfig(w.target(echo))
	cfg.MaxPending = 2
	cfg.Provider.HandshakeTimeout = time.Hour
	s := w.start(cfg)
	conn := w.mustDial(s.address())
	require.NoError(t, ping(conn))
	for range 2 {
		w.plain("tcp", s.address())
	}
	require.Error(t, refused(s.address())) // accepted in order, so the third
	require.NoError(t, ping(conn))
	s.said("connections refused: too many")
	status := s.Status()
	require.EqualValues(t, 1, status.Ended[ReasonFull])
	require.Equal(t, 2, status.Pending)
	require.Equal(t, 1, status.Open)
}

func TestFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.serverConfig(w.target(echo))
	cfg.MaxConns = 4
	s := w.start(cfg)
	var in []net.Conn
	for range 4 {
		in = append(in, w.mustDial(s.address()))
		require.NoError(t, ping(in[len(in)-1]))
	}
	for range 50 {
		_, err := w.dial(s.address())
		require.Error(t, err)
	}
	for _, conn := range in {
		require.NoError(t, ping(conn))
	}
	require.EqualValues(t, 50, s.Status().Ended[ReasonFull])
	require.NoError(t, in[0].Close())
	s.ended(ReasonClosed)
	require.NoError(t, ping(w.mustDial(s.address())))
}

// refused says how a plain connection fails, in whichever call the reset is seen
// first.
func refused(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return ping(conn)
}

// TestFloodOfClient has the plain side flooded.
func TestFloodOfClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(w.serverConfig(w.target(echo)))
	cfg := w.clientConfig(s.address())
	cfg.MaxConns = 1
	c := w.start(cfg)
	conn := w.plain("tcp", c.address())
	require.NoError(t, ping(conn))
	require.Error(t, refused(c.address()))
	require.NoError(t, ping(conn))
	require.EqualValues(t, 1, c.Status().Ended[ReasonFull])
}

// TestBurstOfClient has many connections wait for a client, which are fewer than may be
// open: MaxPending is not about them.
func TestBurstOfClient(t *testing.T) {
	t.Parallel()
	const burst = 100
	w := newWorld(t)
	cfg := w.clientConfig("unix:" + filepath.Join(t.TempDir(), "nobody"))
	cfg.MaxPending = 1
	tunnel, err := Listen(t.Context(), cfg)
	require.NoError(t, err)
	for range burst {
		w.plain("tcp", tunnel.Addr().String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- tunnel.Serve(ctx) }()
	require.Eventually(t, func() bool { return tunnel.Status().Accepted == burst }, 10*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.Zero(t, tunnel.Status().Ended[ReasonFull])
}

func TestIdleReaper(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.serverConfig(w.target(echo))
	cfg.IdleTimeout = 50 * time.Millisecond
	s := w.start(cfg)
	_, err := io.ReadAll(strictDial(t, w, s.address()))
	require.Error(t, err)
	s.ended(ReasonIdle)
}

// pipe is a link whose both sides are in memory, and what it becomes.
func pipe(t *testing.T, cfg Config) (in, out net.Conn, why chan Reason) {
	cfg.Provider = new(hsmtls.Provider)
	in, front := net.Pipe()
	back, out := net.Pipe()
	l := &link{t: &Tunnel{cfg: cfg}, in: front, out: back, began: time.Now()}
	why = make(chan Reason, 1)
	go func() {
		l.forward(t.Context())
		reason, _ := l.verdict()
		why <- reason
	}()
	return in, out, why
}

// TestIdleSinceTheLastByte has bytes in either direction count.
func TestIdleSinceTheLastByte(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, out, why := pipe(t, Config{})
		one := make([]byte, 1)
		for range 5 {
			for _, side := range [][2]net.Conn{{in, out}, {out, in}} {
				time.Sleep(59 * time.Minute) // of the bubble's clock
				_, err := side[0].Write(one)
				require.NoError(t, err)
				_, err = io.ReadFull(side[1], one)
				require.NoError(t, err)
			}
		}
		last := time.Now()
		require.Equal(t, ReasonIdle, <-why)
		require.Equal(t, time.Hour, time.Since(last))
	})
}

// TestIdleIsAlsoNotTaking has a side that takes nothing hold nobody up for ever.
func TestIdleIsAlsoNotTaking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, _, why := pipe(t, Config{IdleTimeout: time.Minute})
		_, err := io.Copy(in, neverending{})
		require.Error(t, err)
		require.Equal(t, ReasonIdle, <-why)
	})
}

type neverending struct{}

func (neverending) Read(b []byte) (int, error) { return len(b), nil }

// TestLifetimeOfADeafSide ends a connection whose plain side takes and says nothing.
func TestLifetimeOfADeafSide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, _, why := pipe(t, Config{IdleTimeout: -1})
		require.Equal(t, ReasonLifetime, <-why)
		require.Equal(t, 24*time.Hour-time.Second, time.Since(began))
	})
}

func TestLifetime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.serverConfig(w.target(echo))
	cfg.Provider.MaxConnAge = 100 * time.Millisecond
	s := w.start(cfg)
	_, _ = io.ReadAll(w.mustDial(s.address()))
	s.ended(ReasonLifetime)
}

// TestWithdrawn closes the connection of a peer that is not trusted any more.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.serverConfig(w.target(echo))
	s := w.start(cfg)
	conn := w.mustDial(s.address())
	require.NoError(t, ping(conn))
	w.server.trust(x509.NewCertPool())
	cfg.Provider.Recheck()
	_, _ = io.ReadAll(conn)
	s.ended(ReasonWithdrawn)
}

func TestChurn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(w.serverConfig(w.target(echo)))
	c := w.start(w.clientConfig(s.address()))
	const workers, each = 8, 40
	failed := make(chan error, workers*each)
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for range each {
				failed <- once(c.address())
			}
		})
	}
	working.Wait()
	for range workers * each {
		require.NoError(t, <-failed)
		s.ended(ReasonClosed)
		c.ended(ReasonClosed)
	}
	status := s.Status()
	require.Zero(t, status.Open)
	require.Zero(t, status.Pending)
	require.EqualValues(t, workers*each, status.Accepted)
	require.EqualValues(t, workers*each, status.Ended[ReasonClosed])
	require.EqualValues(t, 4*workers*each, status.ToTarget)
	require.EqualValues(t, 4*workers*each, status.FromTarget)
}

// once connects in plain, says something, and leaves.
func once(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := ping(conn); err != nil {
		return err
	}
	closeWrite(conn)
	_, err = io.ReadAll(conn)
	return err
}
