// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Gateway keeps a connection to every terminal of an estate, with one identity
// whose key is in the token, and tells what becomes of them. It ends with an
// interrupt.
//
//	go run ./examples/gateway terminals.txt terminals.example
//
// Each line of the file has the serial number of a terminal and its address, such
// as "0042 10.1.2.3:8443". A terminal proves that it is SERIAL.SUFFIX, whatever its
// address. The environment names the token (HSMTLS_MODULE, HSMTLS_TOKEN,
// HSMTLS_PIN_FILE), the vendor's root (HSMTLS_VENDOR_ROOT, a file in PEM)
// and the certificate to present (HSMTLS_ALIAS).
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/hsmtls/hsmtls-go/fleet"
	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: gateway TERMINALS SUFFIX")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, list, suffix string) error {
	cfg, err := hsm.ConfigFromEnv()
	if err != nil {
		return err
	}
	tok, err := hsm.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer tok.Close()
	roots, err := truststore.ReadCertificates(os.Getenv("HSMTLS_VENDOR_ROOT"))
	if err != nil {
		return fmt.Errorf("HSMTLS_VENDOR_ROOT: %w", err)
	}
	anchors := truststore.Anchors{Vendor: roots}
	trust, err := truststore.Open(ctx, tok, truststore.Config{Anchors: anchors})
	if err != nil {
		return err
	}
	f := &fleet.Fleet{
		Provider: &hsmtls.Provider{Keys: keystore.New(tok), Trust: trust},
		Alias:    os.Getenv("HSMTLS_ALIAS"),
		Suffix:   suffix,
	}
	f.Watch(tell)
	if err := add(f, list); err != nil {
		return err
	}
	keep(ctx, f)
	fmt.Printf("%d signatures\n", tok.Status().Signatures)
	return nil
}

// add puts the terminals of a file into the fleet.
func add(f *fleet.Fleet, list string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var t fleet.Terminal
		if _, err := fmt.Sscan(line, &t.Serial, &t.Addr); err != nil {
			return fmt.Errorf("%s: %q: %w", list, line, err)
		}
		if err := f.Set(t); err != nil {
			return err
		}
	}
	return nil
}

// keep is connected to all terminals until ctx ends.
func keep(ctx context.Context, f *fleet.Fleet) {
	var running sync.WaitGroup
	for _, s := range f.Statuses() {
		running.Go(func() { _ = f.Keep(ctx, s.Serial, listen) })
	}
	running.Wait()
}

// listen uses a connection: it hears what the terminal has to say.
func listen(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	_, err := io.Copy(io.Discard, conn)
	return err
}

// tell prints what a watcher of the estate wants to know.
func tell(e fleet.Event) {
	switch e.State {
	case fleet.Connected:
		fmt.Printf("%s connected\n", e.Serial)
	case fleet.Paused:
		fmt.Printf("%s left alone: %v\n", e.Serial, e.Err)
	default:
		if e.Before == fleet.Connected {
			fmt.Printf("%s disconnected\n", e.Serial)
		}
	}
}
