// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Https makes an HTTPS request with the standard client. The transport knows the
// identity; everything above it stays as it was.
//
//	go run ./examples/https https://host.acquirer.example:8443/status
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
		log.Fatal("usage: https URL")
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
	client := &http.Client{Transport: p.Transport(hsmtls.Alias(os.Getenv("HSMTLS_ALIAS")))}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
