// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hsmtls/hsmtls-go/bench/contend"
)

// trustLoad reads every entry and parses it. Crypto11 cannot enumerate
// certificates, so it is told their labels and looks each one up.
func trustLoad(e contend.Env) (*contend.Case, error) {
	c, err := open(e)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(e.Files, "labels"))
	if err != nil {
		return nil, err
	}
	labels := strings.Fields(string(text))
	return &contend.Case{Once: func(int) error {
		for _, label := range labels {
			cert, err := c.FindCertificate(nil, []byte(label), nil)
			if err != nil {
				return err
			}
			if cert == nil {
				return fmt.Errorf("no certificate %s", label)
			}
		}
		return nil
	}}, nil
}

// trustInject writes a certificate, which is removed again.
func trustInject(e contend.Env) (*contend.Case, error) {
	c, err := open(e)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(e.Files, "extra.pem"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("extra.pem holds no PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return &contend.Case{
		Once:  func(int) error { return c.ImportCertificateWithLabel([]byte("extra"), []byte("extra"), cert) },
		After: func(int) error { return c.DeleteCertificate(nil, []byte("extra"), nil) },
	}, nil
}
