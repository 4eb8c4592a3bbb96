// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing_test

import (
	"context"
	"fmt"
	"net"

	"github.com/hsmtls/hsmtls-go/pairing"
)

// A code prints as nothing; the operator's screen asks for its characters.
func ExampleParseCode() {
	code, err := pairing.ParseCode("8qw1-ys1d")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(code, code.Reveal())
	// Output: [redacted] 8QW1YS1D
}

// The terminal serves POS on one port and shows the operator what happens.
func ExampleTerminal() {
	serve := func(ctx context.Context, t *pairing.Terminal) error {
		ln, err := net.Listen("tcp", ":8443")
		if err != nil {
			return err
		}
		go func() {
			for e := range t.Events(ctx) {
				switch e.Kind {
				case pairing.EventCode:
					fmt.Println("code:", e.State.Code.Reveal(), "until", e.State.Expires)
				case pairing.EventPaired:
					fmt.Println("paired:", e.POSID)
				}
			}
		}()
		return t.Serve(ctx, ln)
	}
	_ = serve
}

// A POS pairs once, keeps what it got, and connects with it.
func ExampleClient_Pair() {
	pair := func(ctx context.Context, root pairing.Root, code pairing.Code) error {
		c := &pairing.Client{URL: "https://192.168.178.67:8443", Root: root, Name: "12345678.terminal.example"}
		b, err := c.Pair(ctx, pairing.Request{POSID: "123", Code: code})
		if err != nil {
			return err
		}
		if err := b.Save("pos"); err != nil {
			return err
		}
		conn, err := c.Dial(ctx, b)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	_ = pair
}
