// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package largekey bounds the RSA keys with which signatures are verified. One
// signature of a key that is a megabyte long takes hours, and anybody can send such a
// certificate, or write it to a token. crypto/x509 verifies before it is asked whether a
// key is allowed.
package largekey

import (
	"crypto/rsa"
	"crypto/x509"
)

// MaxRSABits is the size of the largest RSA key with which a signature is verified,
// far beyond any that is allowed for TLS.
const MaxRSABits = 16384

// In reports whether the key of a certificate is larger.
func In(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*rsa.PublicKey)
	return ok && key.N.BitLen() > MaxRSABits
}
