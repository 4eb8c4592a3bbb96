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
	"github.com/hsmtls/hsmtls-go/truststore"
)

// follow begins to take notice of what other programs change on the token, every
// interval and with SIGHUP, until stop is called.
func (s *server) follow(ctx context.Context, p *hsmtls.Provider, trust *truststore.Store, interval time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	var tick <-chan time.Time
	if interval > 0 {
		tick = time.Tick(interval)
	}
	var working sync.WaitGroup
	working.Go(func() {
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
			err := errors.Join(trust.Refresh(ctx), refreshKeys(ctx, p))
			switch {
			case err == nil && wanted:
				s.say(event{Event: "refreshed"})
			case err != nil && (wanted || !failing) && ctx.Err() == nil:
				s.app.warn("token cannot be read again: %v", err)
			}
			failing = err != nil
		}
	})
	return func() {
		signal.Stop(asked)
		cancel()
		working.Wait()
	}
}

// refreshKeys has the identities in use resolved again.
func refreshKeys(ctx context.Context, p *hsmtls.Provider) error {
	if keys, ok := p.Keys.(interface{ Refresh(context.Context) error }); ok {
		if err := keys.Refresh(ctx); err != nil {
			return err
		}
	}
	return p.Refresh(ctx)
}
