// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Terminal pairs point-of-sale systems (POS) and answers those that are paired. The
// keys of its certificate and of the pairing CA are in the token, and so is the list
// of POS. Each line on standard input is a tap on Generate Code. What other programs
// change on the token is noticed within a minute. It ends with an interrupt.
//
//	hsmtls pairing init pairing_ca --key pairing --self
//	go run ./examples/terminal :8443
//
// The environment names the token (HSMTLS_MODULE, HSMTLS_TOKEN, HSMTLS_PIN_FILE),
// the acquirer's root (HSMTLS_ACQUIRER_ROOT, a file in PEM), the
// certificate to present (HSMTLS_ALIAS), the pairing CA (HSMTLS_PAIRING_CA), and a file
// that remembers what was being delivered when the power failed (HSMTLS_JOURNAL).
package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: terminal ADDR")
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
	t, err := newTerminal(ctx, tok, roots)
	if err != nil {
		return err
	}
	defer t.Close()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on %s\n", ln.Addr())
	go show(t.Events(ctx))
	go taps(t)
	go keepFresh(ctx, t)
	return t.Serve(ctx, ln)
}

// newTerminal puts a terminal together from what is on the token.
func newTerminal(ctx context.Context, tok *hsm.Token, roots []*x509.Certificate) (*pairing.Terminal, error) {
	keys := keystore.New(tok)
	ca, err := keys.Identity(ctx, os.Getenv("HSMTLS_PAIRING_CA"))
	if err != nil {
		return nil, err
	}
	trust, err := truststore.Open(ctx, tok, truststore.Config{Anchors: truststore.Anchors{
		Acquirer: roots,
		Pairing:  ca.Chain[len(ca.Chain)-1:], // vouches for POS and for nobody else
	}})
	if err != nil {
		return nil, err
	}
	return &pairing.Terminal{
		Issuer:   &pairing.Issuer{Key: ca.Key, Chain: ca.Chain},
		Registry: &truststore.Clients{Store: trust},
		Handler:  http.HandlerFunc(greet),
		Provider: &hsmtls.Provider{Keys: keys, Trust: trust},
		Alias:    os.Getenv("HSMTLS_ALIAS"),
		Root:     roots[0],
		Journal:  os.Getenv("HSMTLS_JOURNAL"),
	}, nil
}

// keepFresh takes notice of POS that another program has revoked, and of a
// certificate that it has renewed.
func keepFresh(ctx context.Context, t *pairing.Terminal) {
	keys, trust := t.Provider.Keys.(*keystore.Store), t.Provider.Trust.(*truststore.Store)
	for tick := time.Tick(time.Minute); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		err := trust.Refresh(ctx)
		t.Recheck()
		if err := errors.Join(err, keys.Refresh(ctx), t.Refresh(ctx)); err != nil {
			log.Print(err) // what could not be read stays as it was
		}
	}
}

// greet tells the POS who it is: there are no others here.
func greet(w http.ResponseWriter, r *http.Request) {
	pos, _ := pairing.POSFrom(r.Context())
	fmt.Fprintf(w, "hello %s\n", pos.ID)
}

// taps reads until the process ends.
func taps(t *pairing.Terminal) {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := t.GenerateCode(); err != nil {
			log.Print(err)
		}
	}
}

// show is the screen of this terminal.
func show(events iter.Seq[pairing.Event]) {
	for e := range events {
		switch {
		case !e.State.Code.IsZero():
			fmt.Printf("code %s\n", e.State.Code.Reveal())
		case e.Kind == pairing.EventPaired:
			fmt.Printf("paired %s\n", e.POSID)
		}
	}
}
