// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"strings"
	"time"
)

// A certificate is what is shown of one. JSON has these fields.
type certificate struct {
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"` // hexadecimal
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Names       []string  `json:"names"`  // subject alternative names
	Usages      []string  `json:"usages"` // "server", "client", "ca", "other"
	Key         string    `json:"key"`
	Signature   string    `json:"signature"`
	Fingerprint string    `json:"sha256"` // of the DER, hexadecimal
}

// certificateHelp documents the fields for help texts.
const certificateHelp = "subject, issuer, serial, not_before, not_after, names, usages, key, signature, sha256"

func describe(c *x509.Certificate) certificate {
	return certificate{
		Subject:     c.Subject.String(),
		Issuer:      c.Issuer.String(),
		Serial:      fmt.Sprintf("%x", c.SerialNumber),
		NotBefore:   c.NotBefore.UTC(),
		NotAfter:    c.NotAfter.UTC(),
		Names:       alternativeNames(c),
		Usages:      usages(c),
		Key:         keyWords(c.PublicKey),
		Signature:   c.SignatureAlgorithm.String(),
		Fingerprint: fingerprintText(c),
	}
}

func describeAll(chain []*x509.Certificate) []certificate {
	all := []certificate{}
	for _, c := range chain {
		all = append(all, describe(c))
	}
	return all
}

func alternativeNames(c *x509.Certificate) []string {
	names := []string{}
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return append(names, c.EmailAddresses...)
}

func usages(c *x509.Certificate) []string {
	words := []string{}
	if c.IsCA {
		words = append(words, "ca")
	}
	for _, u := range c.ExtKeyUsage {
		words = append(words, usageWord(u))
	}
	return words
}

func usageWord(u x509.ExtKeyUsage) string {
	switch u {
	case x509.ExtKeyUsageServerAuth:
		return "server"
	case x509.ExtKeyUsageClientAuth:
		return "client"
	}
	return "other"
}

func keyWords(public any) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case nil:
		return ""
	}
	return "other"
}

// print shows a certificate in full.
func (c certificate) print(w io.Writer) {
	fields(w,
		"subject", cell(c.Subject),
		"issuer", cell(c.Issuer),
		"serial", c.Serial,
		"valid", c.NotBefore.Format(time.RFC3339)+" to "+c.NotAfter.Format(time.RFC3339),
		"names", joined(c.Names),
		"usages", joined(c.Usages),
		"key", c.Key,
		"signature", c.Signature,
		"sha256", c.Fingerprint,
	)
}

// joined puts foreign words on a line.
func joined(words []string) string {
	var cells []string
	for _, w := range words {
		cells = append(cells, cell(w))
	}
	return strings.Join(cells, ", ")
}

// problem is an error as a table or JSON shows it; nil is empty.
func problem(err error) string {
	if err == nil {
		return ""
	}
	return sentence(err)
}

// fingerprintText is the SHA-256 of a certificate in hexadecimal.
func fingerprintText(c *x509.Certificate) string { return fmt.Sprintf("%x", sha256.Sum256(c.Raw)) }
