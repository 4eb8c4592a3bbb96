// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"
)

// A pool is the sessions of one generation. A PKCS#11 session does one thing at
// a time, so each has one worker, a goroutine that opens it when there is work
// and uses it for job after job. Jobs wait in one queue, first come first
// served; of the idle workers the one that worked last is taken, so that a
// caller alone uses one session only.
//
// A call that hangs inside the module cannot be cancelled. Its caller leaves,
// the worker counts as hung and is replaced, and ends when the call returns.
type pool struct {
	core       *core
	generation *generation
	slot       uint
	instance   *instance // of the module; nil if it did not run
	limit      int       // workers, without the hung ones
	loggedIn   atomic.Bool
	renewing   sync.Mutex // held by who has two sessions

	mu       sync.Mutex
	idle     []*worker
	queue    []*job
	workers  int    // working or idle
	signing  []*job // signatures inside the module, without hung ones
	hung     int    // left inside the module by their callers
	closed   bool
	late     *time.Timer   // for signatures that take too long
	expected time.Time     // when late runs out; zero if it does not
	ended    chan struct{} // closed with the last worker of a closed pool
}

// maxSpare is how many hung workers are replaced. More threads than that are not risked
// on a module that swallows them, or takes long about everything.
const maxSpare = 2

// A worker owns one session.
type worker struct {
	next   chan *job // capacity 1
	handle pkcs11.SessionHandle
	open   bool
}

func newPool(c *core, g *generation, slot uint, i *instance) *pool {
	p := &pool{core: c, generation: g, slot: slot, instance: i, limit: c.sessions, ended: make(chan struct{})}
	p.late = time.AfterFunc(time.Hour, p.findLate)
	p.late.Stop()
	return p
}

// call runs f inside the library, unless the library has been initialised
// again: its session numbers then name the sessions of others.
func (p *pool) call(f func(raw library) error) error { return p.instance.call(f) }

// submit queues a job, and gives it to a worker if its turn has come.
func (p *pool) submit(j *job) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return errLost
	case len(p.queue) >= p.core.cfg.Queue:
		p.core.count.shed.Add(1)
		return ErrBusy
	}
	p.queue = append(p.queue, j)
	p.expect(j)
	p.dispatch()
	return nil
}

// dispatch sets workers to work. mu is held.
func (p *pool) dispatch() {
	for len(p.idle) > 0 || p.mayStart() {
		j := p.pop()
		if j == nil {
			return
		}
		if n := len(p.idle); n > 0 {
			p.idle[n-1].next <- j
			p.idle = p.idle[:n-1]
			continue
		}
		p.workers++
		go p.work(j)
	}
}

// fits reports whether the token can take another such job. mu is held.
func (p *pool) fits(j *job) bool {
	return j.run != nil || len(p.signing) < p.core.signing.limit(p.limit)
}

// mayStart reports whether another worker may start. mu is held.
func (p *pool) mayStart() bool { return p.workers < p.limit && p.workers+p.hung < p.limit+maxSpare }

// pop takes the first job of the queue that the token can take, nil if there is
// none. mu is held.
func (p *pool) pop() *job {
	i := slices.IndexFunc(p.queue, p.fits)
	if i < 0 {
		return nil
	}
	j := p.queue[i]
	p.queue = slices.Delete(p.queue, i, i+1)
	if j.run == nil {
		p.signing = append(p.signing, j)
	}
	return j
}

// over counts a job that is done, or left inside the module. mu is held.
func (p *pool) over(j *job) {
	if i := slices.Index(p.signing, j); i >= 0 {
		p.signing = slices.Delete(p.signing, i, i+1)
	}
}

// withdraw is called by a caller that waits no longer.
func (p *pool) withdraw(j *job, cause error) error {
	p.mu.Lock()
	select {
	case err := <-j.done: // just in time
		p.mu.Unlock()
		return err
	default:
	}
	err := p.giveUp(j, cause)
	p.mu.Unlock()
	if errors.Is(err, errAbandoned) {
		p.core.announce()
	}
	return err
}

// giveUp takes a job out of the queue, or leaves it inside the module to a worker
// that is replaced. It returns what the caller is to be told. mu is held.
func (p *pool) giveUp(j *job, cause error) error {
	if i := slices.Index(p.queue, j); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
		return cause
	}
	j.abandoned = true
	p.over(j)
	p.workers--
	p.hung++
	p.core.count.abandoned.Add(1)
	p.core.count.hung.Add(1)
	p.dispatch()
	return errors.Join(cause, errAbandoned)
}

// work is the life of a worker.
func (p *pool) work(j *job) {
	w := &worker{next: make(chan *job, 1)}
	for j != nil {
		j = p.finish(w, j, p.try(w, j))
	}
	p.closeSession(w)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers--
	p.dispatch() // it may have been one too many only while others were ending too
	if p.closed && p.workers+p.hung == 0 {
		close(p.ended)
	}
}

// try does a job inside the module. A job that did not begin because the token
// was lost is errLost, whatever it would have written.
func (p *pool) try(w *worker, j *job) error {
	begun := false
	err := p.call(func(raw library) error {
		if err := p.openSession(raw, w); err != nil {
			return err
		}
		begun = true
		v := session{raw: raw, handle: w.handle, pool: p}
		if j.run != nil {
			return j.run(v)
		}
		sig, err := p.generation.sign(v, &j.signature)
		j.signature.result = sig
		return err
	})
	if !begun && isLost(err) {
		err = fmt.Errorf("%w: %w", errLost, err)
	}
	switch {
	case isLost(err):
		p.closeSession(w)
	case spoilsSession(err):
		p.renewSession(w)
	}
	return err
}

// wholeFunctions leave no operation in a session, whatever they answer.
var wholeFunctions = []string{
	"C_CreateObject", "C_DestroyObject", "C_GenerateKeyPair", "C_GenerateRandom",
	"C_GetAttributeValue", "C_SetAttributeValue", "C_SetPIN",
}

// spoilsSession reports whether a session in which the module answered so is to
// be renewed, because some modules leave a failed operation active in it. A plain
// refusal does not: if the session is the only one, the login ends with it.
func spoilsSession(err error) bool {
	if err == nil {
		return false
	}
	var e *Error
	return errors.As(err, &e) && (isSuspect(err) || !slices.Contains(wholeFunctions, e.Op))
}

// openSession opens the session of a worker. The login belongs to the process
// and ends with its last session; a session opened after that works, but sees no
// private object, which would pass for an empty token.
func (p *pool) openSession(raw library, w *worker) (err error) {
	if w.open {
		return nil
	}
	w.handle, err = raw.OpenSession(p.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return wrap("C_OpenSession", err)
	}
	w.open = true
	if !p.loggedIn.Load() {
		return nil
	}
	info, err := raw.GetSessionInfo(w.handle)
	if err == nil && info.State != pkcs11.CKS_RW_USER_FUNCTIONS {
		return &Error{Op: "C_GetSessionInfo", Code: ckrUserNotLoggedIn}
	}
	return wrap("C_GetSessionInfo", err)
}

// renewSession gives a worker another session. It is opened before the old one is
// closed, if the token has one more, for the sake of the login. One at a time is
// enough for that: who meets another closes his.
func (p *pool) renewSession(w *worker) {
	if !w.open {
		return
	}
	if !p.renewing.TryLock() {
		p.closeSession(w)
		return
	}
	defer p.renewing.Unlock()
	old := *w
	w.open = false
	if err := p.call(func(raw library) error { return p.openSession(raw, w) }); err != nil {
		p.closeSession(w)
	}
	p.closeSession(&old)
}

func (p *pool) closeSession(w *worker) {
	if !w.open {
		return
	}
	w.open = false
	_ = p.call(func(raw library) error {
		return raw.CloseSession(w.handle)
	})
}

// finish reports the result of a job and returns the next one, nil if the
// worker is to end.
func (p *pool) finish(w *worker, j *job, err error) *job {
	p.mu.Lock()
	if j.abandoned { // a replacement may be at work
		p.hung--
		p.workers++
		p.mu.Unlock()
		p.core.count.hung.Add(-1)
		p.core.announce()
		return p.rejoin(w)
	}
	p.over(j)
	j.done <- err
	return p.await(w)
}

// rejoin lets a worker whose hung call returned carry on if there is need.
func (p *pool) rejoin(w *worker) *job {
	if p.surplus() {
		return nil
	}
	p.renewSession(w)
	p.mu.Lock()
	return p.await(w)
}

// surplus reports whether there are more workers than there is use for.
func (p *pool) surplus() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed || p.workers > p.limit
}

// await returns the next job. It is entered with mu held, and releases it. A caller that
// was answered goes first: the next job may keep this thread inside the module, and the
// caller would wait in the queue of its processor.
func (p *pool) await(w *worker) *job {
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.idle = append(p.idle, w)
	p.dispatch()
	p.mu.Unlock()
	runtime.Gosched()
	return <-w.next // nil once the pool is closed
}

// close turns away the queue, ends the idle workers and waits for the others,
// at most so long. It reports whether all have ended.
func (p *pool) close(wait time.Duration) bool {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		for _, w := range p.idle {
			close(w.next)
		}
		for _, j := range p.queue {
			j.done <- errLost
		}
		p.idle, p.queue = nil, nil
		if p.workers+p.hung == 0 {
			close(p.ended)
		}
	}
	p.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
		return false
	}
}

// usage is what a pool is doing.
func (p *pool) usage() (sessions, inFlight, queued int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.workers, p.workers - len(p.idle), len(p.queue)
}
