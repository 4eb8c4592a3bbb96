// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:debug tlssha1=1

// Weakgodebug is a program whose GODEBUG default is compiled in. It prints
// whether package hsmtls notices.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

type stub struct{ cert tls.Certificate }

func (s stub) Certificate(context.Context, string) (*tls.Certificate, error) { return &s.cert, nil }

func (s stub) Verify(chain []*x509.Certificate, _ string, _ x509.ExtKeyUsage, _ time.Time) ([]*x509.Certificate, error) {
	return chain, nil
}

func main() {
	s := stub{testpki.NewRoot("Root").Client("terminal")}
	_, err := (&hsmtls.Provider{Keys: s, Trust: s}).ClientConfig(context.Background(), "terminal")
	switch {
	case errors.Is(err, hsmtls.ErrWeakGODEBUG):
		fmt.Println("weak")
	case err == nil:
		fmt.Println("strong")
	default:
		fmt.Println(err)
	}
}
