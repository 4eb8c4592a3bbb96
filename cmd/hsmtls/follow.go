// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// refreshTime is how often a service looks for what other programs have changed on the
// token, unless --refresh says otherwise.
const refreshTime = time.Minute

// unread is said of a token that cannot be read again.
const unread = "token cannot be read again, what could not be read stays as it was"

// A refresher is what can be read again.
type refresher interface {
	Refresh(context.Context) error
}

// A follower takes notice of what other programs change on the token. It is safe for
// concurrent use.
type follower struct {
	trust, keys refresher
	served      refresher     // presents what keys have, behind something of its own perhaps
	every       time.Duration // 0: only when it is asked
	deaf        bool          // to SIGHUP
	enter       func(stage)   // hears of what is asked for
	audit       *auditLog     // hears how that went; nil for no audit log

	read   func()      // after what was asked for
	failed func(error) // then too, and at the first failure of several

	looking sync.Mutex // guards what follows
	failing bool
}

// follower is that of a command that runs as r. What is left to set is deaf, read and
// failed.
func (o *operations) follower(r running) *follower {
	return &follower{trust: r.trust, keys: r.keys, served: r.provider, every: o.refresh, enter: o.enter, audit: o.audit}
}

// start looks at the token every interval and with SIGHUP, until stop is called.
func (f *follower) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan os.Signal, 1)
	if !f.deaf {
		signal.Notify(asked, syscall.SIGHUP)
	}
	var working sync.WaitGroup
	working.Go(func() { f.follow(ctx, asked) })
	return func() {
		signal.Stop(asked)
		cancel()
		working.Wait()
	}
}

func (f *follower) follow(ctx context.Context, asked <-chan os.Signal) {
	var tick <-chan time.Time
	if f.every > 0 {
		tick = time.Tick(f.every)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			f.now(ctx)
		case <-tick:
			f.look(ctx, false)
		}
	}
}

// now looks because somebody has asked for it.
func (f *follower) now(ctx context.Context) {
	f.enter(reloading)
	defer f.enter(ready)
	f.look(ctx, true)
}

func (f *follower) look(ctx context.Context, wanted bool) {
	f.looking.Lock()
	defer f.looking.Unlock()
	err := f.refresh(ctx)
	if wanted {
		f.audit.reread(err)
	}
	switch {
	case err == nil && wanted:
		f.read()
	case err != nil && (wanted || !f.failing) && ctx.Err() == nil:
		f.failed(err)
	}
	f.failing = err != nil
}

// refresh has the trust store and the certificates read again. Each half counts,
// whatever becomes of the other. What keys lack is also what served says.
func (f *follower) refresh(ctx context.Context) error {
	errTrust, errKeys := f.trust.Refresh(ctx), f.keys.Refresh(ctx)
	return errors.Join(errTrust, cmp.Or(errKeys, f.served.Refresh(ctx)))
}
