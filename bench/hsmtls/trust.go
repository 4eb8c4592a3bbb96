// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"github.com/hsmtls/hsmtls-go/bench/contend"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// trustLoad opens the store: enumerate, parse, and verify everything.
func trustLoad(e contend.Env) (*contend.Case, error) {
	tok, err := open(e)
	if err != nil {
		return nil, err
	}
	var kept *truststore.Store // the one in use, which counts as heap
	return &contend.Case{Once: func(int) error {
		store, err := openTrust(e, tok)
		if err == nil && len(store.Entries()) == 0 {
			err = errors.New("nothing was loaded")
		}
		kept = store
		return err
	}, After: func(int) error {
		runtime.KeepAlive(kept)
		return nil
	}}, nil
}

// extra is a certificate to inject, which the driver has left in a file.
func extra(e contend.Env) (*x509.Certificate, error) {
	text, err := os.ReadFile(filepath.Join(e.Files, "extra.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("extra.pem holds no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// trustRefresh looks at the token again after another store, as another process
// would have, has injected an entry.
func trustRefresh(e contend.Env) (*contend.Case, error) {
	return twoStores(e, func(writer, reader *truststore.Store, cert *x509.Certificate) *contend.Case {
		return &contend.Case{
			Before: func(int) error { return inject(writer, cert) },
			Once:   func(int) error { return reader.Refresh(context.Background()) },
			After: func(int) error {
				if err := writer.Remove(context.Background(), "extra"); err != nil {
					return err
				}
				return reader.Refresh(context.Background())
			},
		}
	})
}

// trustInject injects an entry, which is removed again.
func trustInject(e contend.Env) (*contend.Case, error) {
	return twoStores(e, func(writer, _ *truststore.Store, cert *x509.Certificate) *contend.Case {
		return &contend.Case{
			Once:  func(int) error { return inject(writer, cert) },
			After: func(int) error { return writer.Remove(context.Background(), "extra") },
		}
	})
}

func inject(store *truststore.Store, cert *x509.Certificate) error {
	_, err := store.Inject(context.Background(), "extra", cert)
	return err
}

func twoStores(e contend.Env, f func(writer, reader *truststore.Store, cert *x509.Certificate) *contend.Case) (*contend.Case, error) {
	tok, err := open(e)
	if err != nil {
		return nil, err
	}
	cert, err := extra(e)
	if err != nil {
		return nil, err
	}
	writer, err := openTrust(e, tok)
	if err != nil {
		return nil, err
	}
	reader, err := openTrust(e, tok)
	if err != nil {
		return nil, err
	}
	return f(writer, reader, cert), nil
}
