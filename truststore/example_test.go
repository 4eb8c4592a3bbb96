// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// Put the certificate of a server into the store of a token.
func ExampleStore_Inject() {
	var (
		ctx           context.Context
		tok           *hsm.Token          // from hsm.Open
		acquirerRoots []*x509.Certificate // from the firmware
		chain         []*x509.Certificate // the server's certificate and its issuers
	)
	store, err := truststore.Open(ctx, tok, truststore.Config{
		Anchors: truststore.Anchors{Acquirer: acquirerRoots},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = store.Inject(ctx, "acquirer-host", chain...)
	var refused *truststore.RejectedError
	switch {
	case errors.As(err, &refused):
		log.Printf("not good enough: %s: %v", refused.Certificate.Subject, refused.Err)
	case errors.Is(err, truststore.ErrExists):
		log.Print("remove the other one first")
	case err != nil:
		log.Fatal(err)
	}
	for _, r := range store.Rejected() {
		log.Printf("on the token, but not trusted: %q: %v", r.Label, r.Err)
	}
}

// Check a certificate against roots in memory, without a token.
func ExampleVerifyChain() {
	root := testpki.NewRoot("acquirer root")
	issuing := root.NewIntermediate("acquirer issuing CA")
	server := issuing.Server("host.example.com").Leaf

	roots := []*x509.Certificate{root.Certificate}
	chain, err := truststore.VerifyChain(roots, []*x509.Certificate{server, issuing.Certificate},
		"host.example.com", x509.ExtKeyUsageServerAuth, time.Now())
	fmt.Println(len(chain), err)

	template := testpki.ServerTemplate("host.example.com", "*.com")
	greedy := issuing.Issue(template, issuing.Key.Public())
	_, err = truststore.VerifyChain(roots, []*x509.Certificate{greedy, issuing.Certificate},
		"", x509.ExtKeyUsageServerAuth, time.Now())
	var broken *truststore.RuleError
	if errors.As(err, &broken) {
		fmt.Println(broken.Rule, "by", broken.Section)
	}
	// Output:
	// 3 <nil>
	// leaf-san-wildcard by CABF 3.2.2.6
}
