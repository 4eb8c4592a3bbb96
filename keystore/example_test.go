// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// A key is made inside the token, a CA answers the request, and the answer
// becomes the identity "terminal_pub".
func Example() {
	ctx := context.Background()
	tok, err := hsm.Open(ctx, hsm.Config{
		URI: "pkcs11:token=terminal?module-path=/usr/lib/softhsm/libsofthsm2.so",
		PIN: hsm.PINFile("/run/pin"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer tok.Close()
	keys := keystore.New(tok)

	if _, err := keys.Generate(ctx, "terminal", keystore.RSA2048); err != nil {
		log.Fatal(err)
	}
	csr, err := keys.CSR(ctx, "terminal", keystore.Request{
		Subject:  pkix.Name{CommonName: "terminal 4711"},
		DNSNames: []string{"4711.terminal.example"},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := keys.Inject(ctx, "terminal_pub", "terminal", askCA(csr)); err != nil {
		log.Fatal(err)
	}

	certificate, err := keys.Certificate(ctx, "terminal_pub")
	if err != nil {
		log.Fatal(err)
	}
	_ = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*certificate}}
}

// askCA stands for the way to the CA; it returns the certificate and its issuers.
func askCA([]byte) []*x509.Certificate { return nil }

// A renewed certificate takes the place of the old one under the same alias.
func ExampleStore_Replace() {
	var keys *keystore.Store // from New
	var chain []*x509.Certificate
	switch err := keys.Replace(context.Background(), "terminal_pub", chain); {
	case errors.Is(err, keystore.ErrMismatch):
		log.Fatal("the CA has certified another key")
	case err != nil:
		log.Fatal(err)
	}
}

func ExampleStore_Identities() {
	var keys *keystore.Store // from New
	identities, err := keys.Identities(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, id := range identities {
		if id.Problem != nil {
			fmt.Printf("%s: %v\n", id.Alias, id.Problem)
			continue
		}
		leaf := id.Chain[0]
		fmt.Printf("%s: %v, by %v, until %v, with key %s\n", id.Alias, leaf.Subject, leaf.Issuer, leaf.NotAfter, id.KeyAlias)
	}
}
