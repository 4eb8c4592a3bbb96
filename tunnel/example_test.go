// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel_test

import (
	"context"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

// A program behind 127.0.0.1:8080 is served to the tills of one shop, until SIGTERM.
func ExampleListen() {
	var keys hsmtls.Keys   // a keystore.Store
	var trust hsmtls.Trust // a truststore.Store
	t, err := tunnel.Listen(context.Background(), tunnel.Config{
		Mode:     tunnel.Server,
		Provider: &hsmtls.Provider{Keys: keys, Trust: trust},
		Alias:    "server_pub",
		Listen:   ":8443",
		Target:   "127.0.0.1:8080",
		Rules:    tunnel.Rules{Units: []string{"shop 7"}},
		Logger:   slog.Default(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := t.Serve(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: tunnel: configuration is wrong: no provider, or one without trust
}
