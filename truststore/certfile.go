// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

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

// What can be wrong with what should be certificates.
var (
	ErrNoCertificate = errors.New("not a certificate, neither PEM nor DER")
	ErrSeveral       = errors.New("several certificates where one is meant")
	ErrPrivateKey    = errors.New("a private key where a certificate is meant")
	ErrRequest       = errors.New("a certificate request where a certificate is meant")
	ErrOtherBlock    = errors.New("a PEM block that is no certificate")
	ErrMalformed     = errors.New("malformed PEM")
	ErrTrailing      = errors.New("something behind the certificate")
	ErrFileTooLarge  = errors.New("larger than 1 MiB")
)

// maxFile bounds a file of certificates, in bytes.
const maxFile = 1 << 20

// ReadCertificates is [ParseCertificates] for a file of 1 MiB at most, such as one
// that holds the roots for [Anchors]. More is [ErrFileTooLarge]; the error names the
// file.
func ReadCertificates(path string) (_ []*x509.Certificate, err error) {
	defer wrap(&err, "read certificates", "")
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: %w", path, ErrFileTooLarge)
	}
	certs, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs, nil
}

// ParseCertificates reads one certificate in DER, or one and more in PEM, in the order
// they have there. It takes all of data or nothing, for what is skipped could be the
// certificate that makes the difference: a private key, a broken block, or anything
// behind the last block is an error. Text may stand before a block (RFC 7468 section
// 2). The error says what is there instead: [ErrNoCertificate], [ErrSeveral] in DER,
// [ErrPrivateKey], [ErrRequest], [ErrOtherBlock], [ErrMalformed] or [ErrTrailing].
//
// Nothing is said of whether anybody trusts the certificates, or of their dates.
func ParseCertificates(data []byte) (_ []*x509.Certificate, err error) {
	defer wrap(&err, "parse certificates", "")
	return parseCertificates(data)
}

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
		return nil, ErrTrailing
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
		return nil, nil, ErrMalformed
	}
	block, rest := pem.Decode(data[start:])
	if block == nil || bytes.Count(data[start:len(data)-len(rest)], pemBegin) != 1 {
		return nil, nil, ErrMalformed
	}
	return block, rest, nil
}

func certificateOf(block *pem.Block) (*x509.Certificate, error) {
	switch {
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		clear(block.Bytes)
		return nil, ErrPrivateKey
	case strings.HasSuffix(block.Type, "CERTIFICATE REQUEST"):
		return nil, ErrRequest
	case block.Type != "CERTIFICATE":
		return nil, fmt.Errorf("%w: %s", ErrOtherBlock, block.Type)
	case len(block.Headers) > 0:
		return nil, ErrMalformed // RFC 7468 section 2 has no headers
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoCertificate, err)
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
		return nil, ErrPrivateKey
	case len(bytes.TrimSpace(data)) == 0:
		return nil, fmt.Errorf("%w: the file is empty", ErrNoCertificate)
	}
	if _, err := x509.ParseCertificateRequest(data); err == nil {
		return nil, ErrRequest
	}
	if certs, err := x509.ParseCertificates(data); err == nil {
		return nil, fmt.Errorf("%w: %d in DER; a chain has to be PEM", ErrSeveral, len(certs))
	}
	if beginsWithCertificate(data) {
		return nil, ErrTrailing
	}
	return nil, ErrNoCertificate
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
