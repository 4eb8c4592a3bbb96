// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Server is the terminal as an HTTPS server: its key is in the token, and only
// clients that the trust store accepts are heard. It ends with an interrupt.
//
//	go run ./examples/server 127.0.0.1:8443
//
// The environment names the token (HSMTLS_MODULE, HSMTLS_TOKEN, HSMTLS_PIN_FILE),
// the acquirer's root (HSMTLS_ACQUIRER_ROOT, a file in PEM) and the
// certificate to present (HSMTLS_ALIAS).
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: server ADDR")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr string) error {
	cfg, err := hsm.ConfigFromEnv()
	if err != nil {
		return err
	}
	tok, err := hsm.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer tok.Close()
	roots, err := truststore.ReadCertificates(os.Getenv("HSMTLS_ACQUIRER_ROOT"))
	if err != nil {
		return fmt.Errorf("HSMTLS_ACQUIRER_ROOT: %w", err)
	}
	anchors := truststore.Anchors{Acquirer: roots}
	trust, err := truststore.Open(ctx, tok, truststore.Config{Anchors: anchors})
	if err != nil {
		return err
	}
	p := &hsmtls.Provider{Keys: keystore.New(tok), Trust: trust}
	ln, err := p.Listen(ctx, "tcp", addr, os.Getenv("HSMTLS_ALIAS"))
	if err != nil {
		return err
	}
	fmt.Printf("listening on %s\n", ln.Addr())
	server := &http.Server{Handler: http.HandlerFunc(greet), ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- server.Shutdown(context.Background()) })
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// greet tells the client who it is: there are no others here.
func greet(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "hello %s\n", r.TLS.PeerCertificates[0].Subject)
}
