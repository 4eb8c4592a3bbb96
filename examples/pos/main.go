// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Pos is a point-of-sale system (POS): it pairs with a terminal, unless it has done
// so before, renews its certificate in time, and makes an HTTPS request with it.
// There is no token at this side.
//
//	go run ./examples/pos https://192.0.2.7:8443 till-3 8QW1YS1D
//
// The environment names the terminal's root (HSMTLS_TERMINAL_ROOT, a file in PEM or
// JSON), the device name in its certificate (HSMTLS_TERMINAL_NAME), and the folder
// for the key and the certificates (HSMTLS_POS_DIR). The code is needed once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/hsmtls/hsmtls-go/pairing"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 && len(os.Args) != 4 {
		log.Fatal("usage: pos URL POSID [CODE]")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, id string, code []string) error {
	text, err := os.ReadFile(os.Getenv("HSMTLS_TERMINAL_ROOT"))
	if err != nil {
		return fmt.Errorf("HSMTLS_TERMINAL_ROOT: %w", err)
	}
	root, err := pairing.ParseRoot(text)
	if err != nil {
		return err
	}
	c := &pairing.Client{URL: url, Root: root, Name: os.Getenv("HSMTLS_TERMINAL_NAME")}
	dir := os.Getenv("HSMTLS_POS_DIR")
	bundle, err := pairing.LoadBundle(dir)
	if errors.Is(err, fs.ErrNotExist) && len(code) > 0 {
		bundle, err = pair(ctx, c, id, code[0], dir)
	}
	if err != nil {
		return err
	}
	if time.Until(bundle.Expires()) < pairing.RenewalTime {
		if bundle, err = renew(ctx, c, bundle, dir); err != nil {
			return err
		}
	}
	return ask(c, bundle)
}

// pair gets a certificate for the code that the terminal shows, and keeps it.
func pair(ctx context.Context, c *pairing.Client, id, text, dir string) (*pairing.Bundle, error) {
	code, err := pairing.ParseCode(text)
	if err != nil {
		return nil, err
	}
	bundle, err := c.Pair(ctx, pairing.Request{POSID: id, Code: code})
	if err != nil {
		return nil, err
	}
	fmt.Printf("paired until %s\n", bundle.Expires().Format("2006-01-02"))
	return bundle, bundle.Save(dir)
}

// renew gets another certificate with the present one, and keeps it. The terminal
// takes both until this one is used.
func renew(ctx context.Context, c *pairing.Client, present *pairing.Bundle, dir string) (*pairing.Bundle, error) {
	bundle, err := c.Renew(ctx, present, nil)
	if err != nil {
		return nil, err
	}
	fmt.Printf("renewed until %s\n", bundle.Expires().Format("2006-01-02"))
	return bundle, bundle.Save(dir)
}

// ask makes a request as the POS that the bundle is for.
func ask(c *pairing.Client, bundle *pairing.Bundle) error {
	transport, err := c.Transport(bundle)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get(c.URL + "/")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
