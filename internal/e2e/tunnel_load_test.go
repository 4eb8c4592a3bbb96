// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmtls/hsmtls-go/tunnel"
)

var errBytes = errors.New("other bytes have come back than were sent")

// A load is what programs do through one half of a tunnel, and what has to be in
// its Status for that. Everything is done at a set rate, so that a slow machine
// has less to do and not more to wait for.
type load struct {
	t       *testing.T
	network string
	addr    string
	end     chan struct{} // closed when it is enough
	working sync.WaitGroup

	clean, broken atomic.Uint64 // connections that ended, and that were broken off on purpose
	to, from      atomic.Uint64 // bytes carried on clean connections
	lost          atomic.Uint64 // bytes on broken ones, which may have been carried or not
	late          atomic.Uint64 // bytes to a target that had ended its stream
	failed        atomic.Uint64
}

func newLoad(t *testing.T, h *half, end chan struct{}) *load {
	return &load{t: t, network: h.Addr().Network(), addr: h.Addr().String(), end: end}
}

// every does f again and again, once in so long, until the end.
func (l *load) every(pause time.Duration, f func() error) {
	l.working.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.note(f())
			case <-l.end:
				return
			}
		}
	})
}

// note keeps the log readable when everything fails.
func (l *load) note(err error) {
	if err != nil && l.failed.Add(1) < 20 {
		l.t.Errorf("%s: %v", time.Now().Format(time.TimeOnly), err)
	}
}

// A halfConn is a connection that can end one direction.
type halfConn interface {
	net.Conn
	CloseWrite() error
}

// open connects and gives the target its order.
func (l *load) open(order string) (halfConn, error) {
	conn, err := net.Dial(l.network, l.addr)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, order+"\n"); err != nil {
		conn.Close()
		return nil, err
	}
	return conn.(halfConn), nil
}

// good counts a connection on which all has arrived.
func (l *load) good(order string, to, from int) {
	l.clean.Add(1)
	l.to.Add(uint64(len(order) + 1 + to))
	l.from.Add(uint64(from))
}

// echo sends n bytes and has them come back, at the same time.
func (l *load) echo(n int) error {
	conn, err := l.open("echo")
	if err != nil {
		return err
	}
	defer conn.Close()
	sent, got := sha256.New(), sha256.New()
	source := rand.NewChaCha8(sha256.Sum256([]byte(strconv.Itoa(rand.Int()))))
	var sending sync.WaitGroup
	var failure error
	sending.Go(func() {
		_, failure = io.Copy(conn, io.TeeReader(io.LimitReader(source, int64(n)), sent))
		failure = errors.Join(failure, conn.CloseWrite())
	})
	back, err := io.Copy(got, conn)
	sending.Wait()
	if err := errors.Join(err, failure); err != nil {
		return fmt.Errorf("echo of %d: %w", n, err)
	}
	if int(back) != n || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		return fmt.Errorf("echo of %d: %w: %d", n, errBytes, back)
	}
	l.good("echo", n, n)
	return nil
}

func (l *load) short() error { return l.echo(rand.IntN(4096)) }
func (l *load) large() error { return l.echo(4<<20 + rand.IntN(4<<20)) }

// digest ends its own direction before the target says anything.
func (l *load) digest() error {
	conn, err := l.open("digest")
	if err != nil {
		return err
	}
	defer conn.Close()
	body := bytesOf(strconv.Itoa(rand.Int()), 1+rand.IntN(256<<10))
	if _, err := conn.Write(body); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	if sum := sha256.Sum256(body); string(answer) != hex.EncodeToString(sum[:]) {
		return fmt.Errorf("digest: %w: %q", errBytes, answer)
	}
	l.good("digest", len(body), len(answer))
	return nil
}

// listen lets the target end its direction first, and has something to say after.
func (l *load) listen() error {
	order := "speak " + strconv.Itoa(rand.Int())
	conn, err := l.open(order)
	if err != nil {
		return err
	}
	defer conn.Close()
	speech, err := io.ReadAll(conn)
	if err != nil {
		return fmt.Errorf("speak: %w", err)
	}
	if !bytes.Equal(speech, bytesOf(order[len("speak "):], len(speech))) || len(speech) == 0 {
		return fmt.Errorf("speak: %w", errBytes)
	}
	if _, err := io.WriteString(conn, "late"); err != nil {
		return err
	}
	l.late.Add(uint64(len("late")))
	l.good(order, len("late"), len(speech))
	return conn.CloseWrite()
}

// trickle keeps a connection open until the end, with a little on it now and then.
func (l *load) trickle(pause time.Duration) {
	l.working.Go(func() {
		conn, err := l.open("echo")
		if err != nil {
			l.note(err)
			return
		}
		defer conn.Close()
		n := 0
		for ended := false; !ended; {
			drop := bytesOf(strconv.Itoa(n), 1+rand.IntN(100))
			back := make([]byte, len(drop))
			if _, err := conn.Write(drop); err != nil {
				l.note(fmt.Errorf("trickle: %w", err))
				return
			}
			if _, err := io.ReadFull(conn, back); err != nil || !bytes.Equal(drop, back) {
				l.note(fmt.Errorf("trickle: %w: %w", errBytes, err))
				return
			}
			n += len(drop)
			select {
			case <-time.After(pause):
			case <-l.end:
				ended = true
			}
		}
		rest, err := endOf(conn)
		if err != nil || len(rest) > 0 {
			l.note(fmt.Errorf("trickle: %w: %d: %w", errBytes, len(rest), err))
			return
		}
		l.good("echo", n, n)
	})
}

// endOf ends a stream and waits for the other end.
func endOf(conn halfConn) ([]byte, error) {
	if err := conn.CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}

// breakOff resets a connection in the middle. The target must not take that for an
// end.
func (l *load) breakOff() error {
	conn, err := l.open("listen")
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if _, err := conn.Write(make([]byte, aborted)); err != nil {
		return err
	}
	l.broken.Add(1)
	l.to.Add(uint64(len("listen\n")))
	l.from.Add(1)
	l.lost.Add(aborted)
	return conn.(*net.TCPConn).SetLinger(0)
}

// beBrokenOff has the target do it.
func (l *load) beBrokenOff() error {
	conn, err := l.open("abort")
	if err != nil {
		return err
	}
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if err == nil {
		return fmt.Errorf("a stream that broke off after %d bytes looks like one that ended", len(got))
	}
	l.broken.Add(1)
	l.to.Add(uint64(len("abort\n")))
	l.lost.Add(aborted)
	return nil
}

// add has one load's sums in another's: all that goes through one server.
func (l *load) add(of *load) {
	l.clean.Add(of.clean.Load())
	l.broken.Add(of.broken.Load())
	l.to.Add(of.to.Load())
	l.from.Add(of.from.Load())
	l.lost.Add(of.lost.Load())
	l.late.Add(of.late.Load())
	l.failed.Add(of.failed.Load())
}

// ended is what there has to be in Status, beside what others did.
func (l *load) ended(others map[tunnel.Reason]uint64) map[tunnel.Reason]uint64 {
	all := map[tunnel.Reason]uint64{tunnel.ReasonClosed: l.clean.Load()}
	if n := l.broken.Load(); n > 0 {
		all[tunnel.ReasonBroken] = n
	}
	for why, n := range others {
		all[why] += n
	}
	return all
}
