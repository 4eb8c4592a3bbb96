// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func echoAt(w *world, network, addr string) net.Addr { return w.targetAt(network, addr, echo) }

func TestOneByteWrites(t *testing.T) {
	t.Parallel()
	new(world).ways(t, echoAt, func(t *testing.T, conn net.Conn) {
		for i := range 1000 {
			_, err := conn.Write([]byte{byte(i)})
			require.NoError(t, err)
			var got [1]byte
			_, err = io.ReadFull(conn, got[:])
			require.NoError(t, err)
			require.Equal(t, byte(i), got[0])
		}
	})
}

// TestLargeTransfer sends 64 MiB there and back at once, through both modes.
func TestLargeTransfer(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	w := newWorld(t)
	s := w.start(w.serverConfig(w.target(echo)))
	c := w.start(w.clientConfig(s.address()))
	conn := w.plain("tcp", c.address())
	sent, got := sha256.New(), sha256.New()
	var sending sync.WaitGroup
	sending.Go(func() {
		_, _ = io.Copy(conn, io.TeeReader(io.LimitReader(rand.Reader, size), sent))
		closeWrite(conn)
	})
	n, err := io.Copy(got, conn)
	sending.Wait()
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	require.Equal(t, sent.Sum(nil), got.Sum(nil))
	for _, r := range []*running{s, c} {
		r.ended(ReasonClosed)
		require.EqualValues(t, size, r.Status().ToTarget)
		require.EqualValues(t, size, r.Status().FromTarget)
	}
}

// TestClientEndsFirst has the target answer after the end of what was sent.
func TestClientEndsFirst(t *testing.T) {
	t.Parallel()
	count := func(w *world, network, addr string) net.Addr {
		return w.targetAt(network, addr, func(conn net.Conn) {
			all, _ := io.ReadAll(conn)
			_, _ = conn.Write(append([]byte("got "), all...))
		})
	}
	new(world).ways(t, count, func(t *testing.T, conn net.Conn) {
		_, err := conn.Write([]byte("all of it"))
		require.NoError(t, err)
		closeWrite(conn)
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "got all of it", string(answer))
	})
}

// TestTargetEndsFirst has the target end its stream, and take what comes after.
func TestTargetEndsFirst(t *testing.T) {
	t.Parallel()
	rest := make(chan string, 3)
	greet := func(w *world, network, addr string) net.Addr {
		return w.targetAt(network, addr, func(conn net.Conn) {
			_, _ = conn.Write([]byte("hello"))
			closeWrite(conn)
			all, _ := io.ReadAll(conn)
			rest <- string(all)
		})
	}
	new(world).ways(t, greet, func(t *testing.T, conn net.Conn) {
		hello, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "hello", string(hello))
		_, err = conn.Write([]byte("late"))
		require.NoError(t, err)
		closeWrite(conn)
		require.Equal(t, "late", <-rest)
	})
}

// TestTruncationIsNoEnd breaks TLS off without close_notify: the target must not take
// that for the end.
func TestTruncationIsNoEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	result := make(chan error, 1)
	s := w.start(w.serverConfig(w.target(func(conn net.Conn) {
		_, err := io.ReadAll(conn)
		result <- err
	})))
	conn := w.mustDial(s.address())
	_, err := conn.Write([]byte("half of"))
	require.NoError(t, err)
	require.NoError(t, conn.(*tls.Conn).NetConn().Close())
	require.Error(t, <-result)
	require.ErrorIs(t, cause(s.ended(ReasonBroken)), errTruncated)
}

// TestResetIsNoEnd has the target break off: TLS must not end with close_notify.
func TestResetIsNoEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(w.serverConfig(w.target(func(conn net.Conn) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_ = conn.(*net.TCPConn).SetLinger(0)
	})))
	d := strictDial(t, w, s.address())
	_, err := d.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadAll(d)
	require.Error(t, err)
	s.ended(ReasonBroken)
}

// TestResetIsNoEndForAWriter has the target break off while something is written to it: the
// system tells the writer of the reset, and the reader of an end.
func TestResetIsNoEndForAWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(w.serverConfig(w.target(func(conn net.Conn) {
		_, _ = conn.Write([]byte("half"))
		_, _ = io.ReadFull(conn, make([]byte, 1<<20))
		_ = conn.(*net.TCPConn).SetLinger(0)
	})))
	for range 20 {
		d := strictDial(t, w, s.address())
		go func() { _, _ = io.Copy(d, neverending{}) }()
		_, err := io.ReadAll(d)
		require.Error(t, err)
		s.ended(ReasonBroken)
	}
}

// TestRefusedTarget ends the client's connection, and says so.
func TestRefusedTarget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(w.serverConfig("unix:" + filepath.Join(t.TempDir(), "nobody"))) // a port that is free may be taken
	_, err := io.ReadAll(strictDial(t, w, s.address()))
	require.Error(t, err)
	record := s.ended(ReasonTarget)
	require.Equal(t, "connection refused", record.Message)
	who, _ := attr(record, "peer")
	require.Contains(t, who, "CN=till")
	require.Zero(t, s.Status().Open)
}

// TestEarlyAnswerArrives has the target answer and close without reading all.
func TestEarlyAnswerArrives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.start(w.serverConfig(w.target(func(conn net.Conn) {
		_, _ = conn.Write([]byte("413"))
		_ = conn.(*net.TCPConn).CloseRead()
		closeWrite(conn)
		_, _ = io.Copy(io.Discard, conn)
	})))
	conn := w.mustDial(s.address())
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "413", string(answer))
}
