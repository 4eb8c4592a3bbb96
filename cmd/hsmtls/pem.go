// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hsmtls/hsmtls-go/truststore"
)

// maxInput bounds what is read as certificates.
const maxInput = 1 << 20

var pemBegin = []byte("-----BEGIN ")

// readCertificates reads one certificate in DER, or one and more in PEM, in the
// order of the file. The path "-" is standard input.
func (a *app) readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := a.readInput(path)
	if err != nil {
		return nil, err
	}
	certs, err := truststore.ParseCertificates(data)
	var refused *truststore.Error
	if errors.As(err, &refused) { // the path says more than the operation
		return nil, fmt.Errorf("%s: %w", path, refused.Err)
	}
	return certs, err
}

// readCertificate reads a file with one certificate.
func (a *app) readCertificate(path string) (*x509.Certificate, error) {
	certs, err := a.readCertificates(path)
	if err != nil {
		return nil, err
	}
	if len(certs) > 1 {
		return nil, fmt.Errorf("%s: %w: %d", path, truststore.ErrSeveral, len(certs))
	}
	return certs[0], nil
}

func (a *app) readInput(path string) ([]byte, error) {
	in := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxInput {
		return nil, fmt.Errorf("%s: %w", path, truststore.ErrFileTooLarge)
	}
	return data, nil
}

// encodeCertificates is the inverse of [truststore.ParseCertificates].
func encodeCertificates(certs []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
