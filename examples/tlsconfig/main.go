// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Tlsconfig hands a plain [crypto/tls.Config] to a library that knows nothing of
// tokens, here one for WebSockets: it sends a message and prints the answer.
//
//	go run ./examples/tlsconfig wss://host.acquirer.example:8443/
//
// The environment names the token (HSMTLS_MODULE, HSMTLS_TOKEN, HSMTLS_PIN_FILE),
// the acquirer's root (HSMTLS_ACQUIRER_ROOT, a file in PEM) and the
// certificate to present (HSMTLS_ALIAS).
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/coder/websocket"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: tlsconfig URL")
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
	config, err := p.ClientConfig(ctx, os.Getenv("HSMTLS_ALIAS"))
	if err != nil {
		return err
	}
	config.NextProtos = []string{"http/1.1"} // a WebSocket begins as HTTP/1.1
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: config}},
	})
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		return err
	}
	_, answer, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n", answer)
	return conn.Close(websocket.StatusNormalClosure, "")
}
