// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// auditFlag registers --audit-log.
func (o *operations) auditFlag(c *cobra.Command) {
	c.Flags().StringVar(&o.auditPath, "audit-log", "", "`FILE` to write each decision to, as JSON; opened again with SIGHUP")
	_ = c.MarkFlagFilename("audit-log")
}

// openAudit opens the audit log before the token, so that a service without the log it was told to write
// does not begin.
func (o *operations) openAudit() (err error) {
	o.app.service = true           // the flags are understood
	signal.Ignore(syscall.SIGPIPE) // a reader of standard output or error that goes away ends no service
	if o.auditPath == "" {
		return nil
	}
	if o.audit, err = openAuditLog(o.auditPath, o.app.warn); err != nil {
		return err
	}
	o.observers = append(o.observers, o.audit)
	o.followers = append(o.followers, func(s stage) {
		if s == reloading {
			o.audit.reopen()
		}
	})
	return nil
}

// auditProvider has the audit log hear what p says and no Observer is told.
func (o *operations) auditProvider(p *hsmtls.Provider) { p.Logger = o.audit.alsoProvider(p.Logger) }

// supervise tells the service manager and the audit log how r is, until stop is called. It
// comes before anything enters a stage.
func (o *operations) supervise(ctx context.Context, r running) (stop func()) {
	n, err := newNotifier(os.Getenv("NOTIFY_SOCKET"), o.app.warn)
	if err != nil { // a variable that was left from somewhere ends no service
		o.app.warn("service manager cannot be told: %v", err)
	}
	o.followers = append(o.followers, n.enter)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // also while connections drain
	var working sync.WaitGroup
	working.Go(func() { n.keep(ctx, r, watchdogBeat(os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID"))) })
	unwatch := r.trust.Watch(func() { o.audit.trustChanged(r.trust) })
	o.audit.started(r)
	return func() {
		unwatch()
		cancel()
		working.Wait()
		n.close()
		o.audit.stopped()
	}
}
