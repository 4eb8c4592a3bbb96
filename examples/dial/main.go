// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Dial opens a raw connection with mutual TLS, says what was negotiated, sends a
// line and prints the answer.
//
//	go run ./examples/dial host.acquirer.example:8443
//
// The environment names the token (HSMTLS_MODULE, HSMTLS_TOKEN, HSMTLS_PIN_FILE),
// the acquirer's root (HSMTLS_ACQUIRER_ROOT, a file in PEM) and the
// certificate to present (HSMTLS_ALIAS).
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: dial HOST:PORT")
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
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
	conn, err := p.Dial(ctx, "tcp", addr, os.Getenv("HSMTLS_ALIAS"))
	if err != nil {
		return err
	}
	defer conn.Close()
	report, err := hsmtls.Report(conn)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %s, with %s, as %s\n", tls.VersionName(report.Version),
		tls.CipherSuiteName(report.CipherSuite), report.Peer.Subject, report.Alias)
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, conn)
	return err
}
