// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"net"

	"github.com/hsmtls/hsmtls-go/pairing/screen"
)

// noScreen is the value of --screen for a terminal without the operator's page.
const noScreen = "none"

// openScreen says where the operator's page is, and returns what serves it.
func (o *operator) openScreen(ctx context.Context, addr string) (serve func(context.Context), err error) {
	if addr == noScreen {
		return func(context.Context) {}, nil
	}
	ln, err := screen.Listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) { o.serveScreen(ctx, ln) }, nil
}

func (o *operator) serveScreen(ctx context.Context, ln net.Listener) {
	o.say(terminalEvent{Event: "screen", Address: "http://" + ln.Addr().String()})
	if err := (&screen.Page{Terminal: o.terminal}).Serve(ctx, ln); err != nil {
		o.app.warn("operator's page: %v", err)
	}
}
