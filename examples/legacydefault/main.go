// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Legacydefault gives an identity to code that calls [net/http.Get] and cannot be
// changed. New code passes a client, as in examples/https.
//
//	go run ./examples/legacydefault https://host.acquirer.example:8443/status
//
// The environment names the token (HSMTLS_MODULE, HSMTLS_TOKEN, HSMTLS_PIN_FILE),
// the acquirer's root (HSMTLS_ACQUIRER_ROOT, a file in PEM) and the
// certificate to present (HSMTLS_ALIAS).
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: legacydefault URL")
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url string) error {
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
	restore, err := p.InstallDefault(os.Getenv("HSMTLS_ALIAS"))
	if err != nil {
		return err
	}
	defer restore()
	return legacy(url)
}

// legacy is code that has never heard of tokens.
func legacy(url string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
