// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// A follower takes notice of what other programs change on the token.
type follower struct {
	keys     *keystore.Store
	trust    *truststore.Store
	provider *hsmtls.Provider // which may keep the keys behind something of its own
	every    time.Duration    // 0: only with SIGHUP
	enter    func(stage)      // hears of what SIGHUP asks for
	audit    *auditLog        // hears how that went; nil for no audit log

	read   func()      // after what SIGHUP asked for
	failed func(error) // then too, and at the first failure of several
}

// start looks at the token every interval and with SIGHUP, until stop is called.
func (f *follower) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
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
	failing := false
	for {
		wanted := false
		select {
		case <-ctx.Done():
			return
		case <-asked:
			wanted = true
			f.enter(reloading)
		case <-tick:
		}
		err := f.look(ctx)
		if wanted {
			f.audit.reread(err)
			f.enter(ready)
		}
		switch {
		case err == nil && wanted:
			f.read()
		case err != nil && (wanted || !failing) && ctx.Err() == nil:
			f.failed(err)
		}
		failing = err != nil
	}
}

// look has the trust store and the certificates read again. Each half counts,
// whatever becomes of the other.
func (f *follower) look(ctx context.Context) error {
	errTrust := f.trust.Refresh(ctx)
	if err := f.keys.Refresh(ctx); err != nil { // which tells the provider itself
		return errors.Join(errTrust, err)
	}
	return errors.Join(errTrust, f.provider.Refresh(ctx))
}
