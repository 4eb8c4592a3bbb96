// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// follow takes notice of what other programs change on the token, every interval and
// with SIGHUP, until stop is called. It goes on while connections drain.
func (t *tunnelRun) follow(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	var working sync.WaitGroup
	working.Go(func() { t.keepFresh(ctx, asked) })
	return func() {
		signal.Stop(asked)
		cancel()
		working.Wait()
	}
}

func (t *tunnelRun) keepFresh(ctx context.Context, asked <-chan os.Signal) {
	var tick <-chan time.Time
	if t.refresh > 0 {
		tick = time.Tick(t.refresh)
	}
	failing := false
	for {
		wanted := false
		select {
		case <-ctx.Done():
			return
		case <-asked:
			wanted = true
		case <-tick:
		}
		err := t.read(ctx)
		switch {
		case err == nil && wanted:
			t.cfg.Logger.Info("token read again")
		case err != nil && (wanted || !failing) && ctx.Err() == nil:
			t.cfg.Logger.Warn("token cannot be read again, what could not be read stays as it was", slog.Any("error", err))
		}
		failing = err != nil
	}
}

// read has the trust store and the certificate read again. Each half counts, whatever
// becomes of the other.
func (t *tunnelRun) read(ctx context.Context) error {
	errTrust := t.trust.Refresh(ctx)
	if err := t.keys.Refresh(ctx); err != nil { // which tells the provider itself
		return errors.Join(errTrust, err)
	}
	return errors.Join(errTrust, t.cfg.Provider.Refresh(ctx))
}
