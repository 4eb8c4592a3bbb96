// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/hsmtls/hsmtls-go/pairing"
)

// refreshTime is how often a terminal looks for what other programs have changed on
// the token, unless --refresh says otherwise.
const refreshTime = time.Minute

// keepFresh looks again and again until ctx ends, and when it is asked to.
func (o *operator) keepFresh(ctx context.Context, every time.Duration, asked <-chan os.Signal) {
	var tick <-chan time.Time
	if every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		tick = ticker.C
	}
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
			err := o.refresh(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				o.unread(err)
			}
			failing = err != nil
		case <-asked:
			o.refreshNow(ctx)
		}
	}
}

// refreshNow says how it went.
func (o *operator) refreshNow(ctx context.Context) {
	o.enter(reloading)
	defer o.enter(ready)
	err := o.refresh(ctx)
	o.audit.reread(err)
	if err != nil {
		o.unread(err)
		return
	}
	o.say(terminalEvent{Event: "refreshed"})
}

func (o *operator) unread(err error) { o.app.warn("token cannot be read again: %v", err) }

// refresh takes notice of what other programs have changed: first of POS that are
// revoked, then of a certificate that was renewed. What fails stays as it was.
func (o *operator) refresh(ctx context.Context) error {
	o.freshening.Lock()
	defer o.freshening.Unlock()
	errTrust := o.trust.Refresh(ctx)
	o.terminal.Recheck()
	errKeys := errors.Join(o.keys.Refresh(ctx), o.terminal.Refresh(ctx))
	if own, err := o.keys.Identity(ctx, o.terminal.Alias); err == nil && !own.Chain[0].Equal(o.presented) {
		o.presented = own.Chain[0]
		o.log().Info("another certificate is presented", slog.String("subject", o.presented.Subject.String()), slog.Time("notAfter", o.presented.NotAfter))
	}
	o.warnOfExpiry()
	return errors.Join(errTrust, errKeys)
}

// warnOfExpiry says once of each certificate that it expires soon. It needs the lock,
// or to come first.
func (o *operator) warnOfExpiry() {
	now := time.Now()
	if o.soon(o.presented, now) {
		o.app.warn("certificate of the terminal expires on %s", date(o.presented.NotAfter))
	}
	for _, p := range o.terminal.List() {
		if o.soon(p.Certificate, now) {
			o.app.warn("certificate of POS %s expires on %s", cell(p.ID), date(p.Expires()))
		}
	}
}

func (o *operator) soon(c *x509.Certificate, now time.Time) bool {
	if o.warned[string(c.Raw)] || !expiresSoon(c, now) {
		return false
	}
	o.warned[string(c.Raw)] = true
	return true
}

func expiresSoon(c *x509.Certificate, now time.Time) bool {
	return now.Add(pairing.RenewalTime).After(c.NotAfter)
}
