// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// A hosted library is a module in a process of its own, the module host. When the
// host ends, every call is answered with a *hostError, which is an outage like any
// other; a new instance of the library is a new host.
type hosted struct {
	program string
	process *exec.Cmd
	exited  chan struct{} // closed when process has been waited for
	control *net.UnixConn // ends with the host, which is sent its ends of lines through it

	mu    sync.Mutex
	lines map[*line]struct{}
	idle  []*line
	ended bool
	cause error // why it was ended from here

	gone chan struct{} // closed when the host has ended
	err  error         // why; set before gone is closed

	hangs *atomic.Uint64 // hosts ended because a call hung
}

// How long a call may take before the host is taken to hang, but for C_Sign, whose
// limit is Config.Timeout. A smart card makes an RSA key in minutes.
const (
	startLimit = 10 * time.Second
	callLimit  = time.Minute
	longLimit  = 10 * time.Minute
)

// A hostError is the answer of a host that has ended. What it wraps is that of a
// library that is not initialised.
type hostError struct{ program, why string }

func (e *hostError) Error() string { return fmt.Sprintf("module host %s ended: %s", e.program, e.why) }
func (e *hostError) Unwrap() error { return errNotRunning }

var errStopped = errors.New("it was stopped")

// ask asks one question and waits for the answer. A host that does not answer
// within limit is ended.
func (h *hosted) ask(q question, limit time.Duration) (a answer, err error) {
	l, err := h.take()
	if err != nil {
		return answer{}, err
	}
	watchdog := time.AfterFunc(limit, func() { h.giveUp(q.Function, limit) })
	defer watchdog.Stop()
	if err = l.encode.Encode(&q); err == nil {
		err = l.read(&a)
	}
	if err != nil {
		h.drop(l)
		h.end(ownCause(err))
		<-h.gone
		return answer{}, h.err
	}
	h.putBack(l)
	return a, a.err()
}

// ownCause is the error of a line, if that is not the end of the host.
func ownCause(err error) error {
	if errors.Is(err, errLongMessage) {
		return err
	}
	return nil
}

// take returns an idle line, or a new one.
func (h *hosted) take() (*line, error) {
	h.mu.Lock()
	if h.ended {
		h.mu.Unlock()
		<-h.gone
		return nil, h.err
	}
	defer h.mu.Unlock()
	if n := len(h.idle); n > 0 {
		l := h.idle[n-1]
		h.idle = h.idle[:n-1]
		return l, nil
	}
	socket, err := h.connect()
	if err != nil {
		return nil, err
	}
	l := newLine(socket)
	h.lines[l] = struct{}{}
	return l, nil
}

// putBack makes a line idle again.
func (h *hosted) putBack(l *line) {
	h.mu.Lock()
	ended := h.ended
	if !ended {
		h.idle = append(h.idle, l)
	}
	h.mu.Unlock()
	if ended {
		h.drop(l)
	}
}

// drop closes a line.
func (h *hosted) drop(l *line) {
	h.mu.Lock()
	delete(h.lines, l)
	h.mu.Unlock()
	_ = l.socket.Close()
}

// giveUp ends a host in which a call hangs.
func (h *hosted) giveUp(function string, limit time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.hangs.Add(1)
	}
	h.shut(fmt.Errorf("no answer from %s in %v", function, limit))
}

// end ends the host, which need not be running any more, and all that is asked. A nil
// cause is one that its exit status tells better.
func (h *hosted) end(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shut(cause)
}

// shut is end with mu held.
func (h *hosted) shut(cause error) {
	if h.ended {
		return
	}
	h.ended, h.cause = true, cause
	_ = h.control.Close()
	_ = h.process.Process.Kill()
	for l := range h.lines {
		hangUp(l.socket) // in case the host sits in the kernel and cannot be killed
	}
}

// mourn waits for the end of the host.
func (h *hosted) mourn() {
	_, _ = h.control.Read(make([]byte, 1)) // nothing ever comes
	h.end(nil)
	h.err = &hostError{h.program, h.obituary()}
	h.mu.Lock()
	idle := h.idle
	h.idle = nil
	h.mu.Unlock()
	for _, l := range idle {
		h.drop(l)
	}
	close(h.gone)
}

// obituary says why an ended host ended. One that sits in the kernel for ever is
// not waited for.
func (h *hosted) obituary() string {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-h.exited:
	case <-timer.C:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.exited:
		if h.cause == nil {
			return h.process.ProcessState.String()
		}
	default:
	}
	if h.cause == nil {
		return "it closed its socket"
	}
	return h.cause.Error()
}

// Destroy ends the host and waits for that.
func (h *hosted) Destroy() {
	h.end(errStopped)
	<-h.gone
}

// process is the host of a hosted library, nil for a linked one.
func (i *instance) process() *hosted {
	h, _ := i.raw.(*hosted)
	return h
}

// isGone reports whether the library has ended by itself.
func (i *instance) isGone() bool {
	if i == nil || i.process() == nil {
		return false
	}
	select {
	case <-i.process().gone:
		return true
	default:
		return false
	}
}

// watch waits for the end of a host, so that tokens recover before they are used.
func (m *module) watch(i *instance) {
	h := i.process()
	if h == nil {
		return
	}
	go func() {
		<-h.gone
		for _, c := range m.tokens() {
			if g := c.generation.Load(); g != nil && g.pool.instance == i {
				c.lose(g, h.err)
			}
		}
	}()
}

// tokens returns the open tokens.
func (m *module) tokens() (all []*core) {
	m.life <- struct{}{}
	defer m.unlock()
	for c := range m.cores {
		all = append(all, c)
	}
	return all
}

// hostPID is the process of the running host, zero if there is none.
func (m *module) hostPID() int {
	i := m.running.Load()
	if i == nil || i.process() == nil || i.isGone() {
		return 0
	}
	return i.process().process.Process.Pid
}
