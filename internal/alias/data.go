// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package alias

import (
	"encoding/hex"
	"strings"
)

// Application is the CKA_APPLICATION of the data objects of this module.
const Application = "hsmtls"

// The beginnings of the labels of data objects. Hexadecimal digits follow: what
// the object is about.
const (
	crlLabel         = "crl of "
	endorsementLabel = "endorsement of "
	crlMarkLabel     = "crl seen of "
	denyLabel        = "deny-list "
)

// CRLLabel returns the label of a CRL. Issuer identifies who has issued it, in 8
// bytes and more.
func CRLLabel(issuer []byte) string { return crlLabel + hex.EncodeToString(issuer[:8]) }

// CRLMarkLabel returns the label of the record that there is a CRL.
func CRLMarkLabel(issuer []byte) string { return crlMarkLabel + hex.EncodeToString(issuer[:8]) }

// DenyLabel returns the label of the record about a certificate on the deny-list,
// by its fingerprint.
func DenyLabel(fingerprint []byte) string { return denyLabel + hex.EncodeToString(fingerprint) }

// EndorsementLabel returns the label of the endorsement of a certificate.
func EndorsementLabel(der []byte) string { return label(endorsementLabel, der) }

// IsCRLLabel reports whether label claims to be that of a CRL.
func IsCRLLabel(label string) bool { return strings.HasPrefix(label, crlLabel) }

// IsCRLMarkLabel reports whether label claims to be that of a record of a CRL.
func IsCRLMarkLabel(label string) bool { return strings.HasPrefix(label, crlMarkLabel) }

// IsDenyLabel reports whether label claims to be that of a record of the deny-list.
func IsDenyLabel(label string) bool { return strings.HasPrefix(label, denyLabel) }
