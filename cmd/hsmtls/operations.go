// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

// An operations is what a command that runs until it is told to end has for its
// operator: who hears of its connections, and who hears how far it is. In this order:
// flags, check, observe, start, and enter for what start cannot know.
type operations struct {
	app *app

	refresh time.Duration // of --refresh, 0 for only with SIGHUP

	adminAddress string // of --admin, empty for none
	admin        *admin // behind it

	auditPath string    // of --audit-log, empty for none
	audit     *auditLog // behind it

	observers observers     // hear what the Provider does, in this order
	followers []func(stage) // hear how far the command is, in this order
}

const operationsHelp = `--admin answers programs and people on this machine how the command is: /healthz, /status
as JSON, /metrics for Prometheus, and a page; "admin on URL" says where. It is off by
default and changes nothing.`

// A stage is how far a command is.
type stage int

const (
	ready     stage = iota + 1 // it listens; also after reloading
	reloading                  // it has been asked to read the token again
	stopping                   // it has been asked to end, and lets connections finish
)

// A running is a command that is operated.
type running struct {
	command  string // as in the command line, such as "tunnel server"
	alias    string // of the certificate that is presented
	token    *hsm.Token
	keys     *keystore.Store
	trust    *truststore.Store
	provider *hsmtls.Provider
	terminal *pairing.Terminal    // of terminal, else nil
	tunnel   func() tunnel.Status // of tunnel, else nil
	open     func() int           // how many connections serve has, else nil
	audit    *auditLog            // nil for none
	say      func(address string) // tells where the admin listener is
}

// flags registers the flags that all these commands have.
func (o *operations) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.adminAddress, "admin", "", "loopback `ADDR`, or unix:PATH, that answers /healthz, /status and /metrics")
	c.Flags().DurationVar(&o.refresh, "refresh", refreshTime, "`TIME` between two looks at the token, such as 30s; 0 for SIGHUP alone")
	o.auditFlag(c)
}

// check looks at the flags before a token is opened.
func (o *operations) check() error {
	if o.refresh < 0 {
		return usagef("invalid argument %v for --refresh: it is a time, or 0", o.refresh)
	}
	if err := o.prepareAdmin(); err != nil {
		return err
	}
	return o.openAudit()
}

// prepareAdmin has the admin listener hear everything from the beginning.
func (o *operations) prepareAdmin() error {
	if o.adminAddress == "" {
		return nil
	}
	address, err := parseAdmin(o.adminAddress)
	if err != nil {
		return err
	}
	o.admin = newAdmin(address)
	o.observers = append(o.observers, o.admin.tally, o.admin.metrics)
	o.followers = append(o.followers, o.admin.enter)
	return nil
}

// observe has the Provider tell the observers. It comes before the first use of p.
func (o *operations) observe(p *hsmtls.Provider) {
	if len(o.observers) > 0 {
		p.Observer = o.observers
	}
	o.auditProvider(p)
}

// start begins what goes on in the background. It ends when stop is called, not with
// ctx: there is something to see while connections drain. The command enters the
// stage stopping when ctx ends; ready it says itself.
func (o *operations) start(ctx context.Context, r running) (stop func(), err error) {
	r.audit = o.audit
	closeAdmin, err := o.openAdmin(ctx, r)
	if err != nil {
		return nil, err
	}
	unsupervised := o.supervise(ctx, r)
	ended := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(ended)
		o.enter(stopping)
	})
	return func() {
		if !unwatch() {
			<-ended
		}
		unsupervised()
		closeAdmin()
	}, nil
}

func (o *operations) openAdmin(ctx context.Context, r running) (stop func(), err error) {
	if o.admin == nil {
		return func() {}, nil
	}
	return o.admin.serve(ctx, r)
}

// enter tells the followers how far the command is.
func (o *operations) enter(s stage) {
	for _, hear := range o.followers {
		hear(s)
	}
}

// Observers are told, one after the other, what a Provider does.
type observers []hsmtls.Observer

var _ hsmtls.Observer = observers(nil)

func (all observers) Handshake(e hsmtls.HandshakeEvent) {
	for _, o := range all {
		o.Handshake(e)
	}
}

func (all observers) Signature(e hsmtls.SignatureEvent) {
	for _, o := range all {
		o.Signature(e)
	}
}
