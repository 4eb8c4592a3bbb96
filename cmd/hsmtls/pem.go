// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// What can be wrong with a file that should hold certificates.
var (
	errNoCertificate = errors.New("not a certificate, neither PEM nor DER")
	errSeveral       = errors.New("several certificates where one is meant")
	errPrivateKey    = errors.New("a private key where a certificate is meant")
	errRequest       = errors.New("a certificate request where a certificate is meant")
	errOtherBlock    = errors.New("a PEM block that is no certificate")
	errMalformed     = errors.New("malformed PEM")
	errTrailing      = errors.New("something behind the certificate")
	errTooLarge      = errors.New("larger than 1 MiB")
)

// maxInput bounds what is read as certificates.
const maxInput = 1 << 20

// readCertificates reads one certificate in DER, or one and more in PEM, in the
// order of the file. The path "-" is standard input.
func (a *app) readCertificates(path string) ([]*x509.Certificate, error) {
	data, err := a.readInput(path)
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}

// readCertificate reads a file with one certificate.
func (a *app) readCertificate(path string) (*x509.Certificate, error) {
	certs, err := a.readCertificates(path)
	if err != nil {
		return nil, err
	}
	if len(certs) > 1 {
		return nil, fmt.Errorf("%s: %w: %d", path, errSeveral, len(certs))
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
		return nil, fmt.Errorf("%s: %w", path, errTooLarge)
	}
	return data, nil
}

// parseCertificates takes all of data or nothing: what is skipped could have
// been the certificate that makes the difference. Text may stand before a PEM
// block (RFC 7468 section 2), nothing may follow the last.
func parseCertificates(data []byte) (certs []*x509.Certificate, err error) {
	if !bytes.Contains(data, pemBegin) {
		return parseDER(data)
	}
	for rest := data; bytes.Contains(rest, pemBegin); {
		var block *pem.Block
		if block, rest, err = nextBlock(rest); err != nil {
			return nil, err
		}
		cert, err := certificateOf(block)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
		data = rest
	}
	if len(bytes.TrimSpace(data)) > 0 {
		return nil, errTrailing
	}
	return certs, nil
}

var (
	pemBegin = []byte("-----BEGIN ")
	pemDash  = []byte("-----")
)

// nextBlock returns the first block of data, which has one, and what follows.
// Package pem would skip a block it cannot read.
func nextBlock(data []byte) (*pem.Block, []byte, error) {
	start := bytes.Index(data, pemBegin)
	if bytes.Contains(data[:start], pemDash) {
		return nil, nil, errMalformed
	}
	block, rest := pem.Decode(data[start:])
	if block == nil || bytes.Count(data[start:len(data)-len(rest)], pemBegin) != 1 {
		return nil, nil, errMalformed
	}
	return block, rest, nil
}

func certificateOf(block *pem.Block) (*x509.Certificate, error) {
	switch {
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		clear(block.Bytes)
		return nil, errPrivateKey
	case strings.HasSuffix(block.Type, "CERTIFICATE REQUEST"):
		return nil, errRequest
	case block.Type != "CERTIFICATE":
		return nil, fmt.Errorf("%w: %s", errOtherBlock, block.Type)
	case len(block.Headers) > 0:
		return nil, errMalformed // RFC 7468 section 2 has no headers
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoCertificate, err)
	}
	return cert, nil
}

// parseDER reads one certificate, or tells what is there instead.
func parseDER(data []byte) ([]*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(data)
	switch {
	case err == nil:
		return []*x509.Certificate{cert}, nil
	case isPrivateKey(data):
		return nil, errPrivateKey
	case len(bytes.TrimSpace(data)) == 0:
		return nil, fmt.Errorf("%w: the file is empty", errNoCertificate)
	}
	if _, err := x509.ParseCertificateRequest(data); err == nil {
		return nil, errRequest
	}
	if certs, err := x509.ParseCertificates(data); err == nil {
		return nil, fmt.Errorf("%w: %d in DER; a chain has to be PEM", errSeveral, len(certs))
	}
	if beginsWithCertificate(data) {
		return nil, errTrailing
	}
	return nil, errNoCertificate
}

func beginsWithCertificate(data []byte) bool {
	var first asn1.RawValue
	if _, err := asn1.Unmarshal(data, &first); err != nil {
		return false
	}
	_, err := x509.ParseCertificate(first.FullBytes)
	return err == nil
}

func isPrivateKey(der []byte) bool {
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
	_, sec1 := x509.ParseECPrivateKey(der)
	return pkcs8 == nil || pkcs1 == nil || sec1 == nil
}

// encodeCertificates is the inverse of parseCertificates.
func encodeCertificates(certs []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
