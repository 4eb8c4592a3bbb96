// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package testpki

import (
	"crypto/rand"
	"crypto/x509"
)

// CRL signs a list of revoked certificates, of which the number and the times are set.
func (ca *CA) CRL(list *x509.RevocationList) *x509.RevocationList {
	der := must(x509.CreateRevocationList(rand.Reader, list, ca.Certificate, ca.Key))
	return must(x509.ParseRevocationList(der))
}
