// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package alias

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// The beginnings of the CKA_ID values this module gives to certificates that
// have no key on the token. The SHA-256 of the certificate follows.
const (
	ownPrefix    = "hsmtls-"
	trustPrefix  = ownPrefix + "trust-1:"
	issuerPrefix = ownPrefix + "chain-1:"
)

// The beginnings of labels that are no aliases. Sixteen hexadecimal digits of
// the SHA-256 of the certificate follow.
const (
	reserved           = "issuer "
	issuerLabel        = reserved
	trustIssuerLabel   = reserved + "of trust "
	reservedForAnchors = "anchor "
)

// TrustID returns the CKA_ID of an object of the trust store: an entry, or an
// issuer that proves one.
func TrustID(der []byte) []byte { return id(trustPrefix, der) }

// IssuerID returns the CKA_ID of an issuer of an identity, which is kept so
// that the whole chain can be sent.
func IssuerID(der []byte) []byte { return id(issuerPrefix, der) }

// IssuerLabel returns the CKA_LABEL of an issuer of an identity.
func IssuerLabel(der []byte) string { return label(issuerLabel, der) }

// TrustIssuerLabel returns the CKA_LABEL of an issuer in the trust store, which
// is not an entry and trusted for nothing. Identities have issuer objects of
// their own, so that neither store has to know what the other one still needs.
func TrustIssuerLabel(der []byte) string { return label(trustIssuerLabel, der) }

// IsTrustID reports whether id claims to be that of an object of the trust store.
func IsTrustID(id []byte) bool { return bytes.HasPrefix(id, []byte(trustPrefix)) }

// IsIssuerID reports whether id claims to be that of an issuer of an identity.
func IsIssuerID(id []byte) bool { return bytes.HasPrefix(id, []byte(issuerPrefix)) }

// IsOwnID reports whether id claims to be one this module has made for whatever
// purpose.
func IsOwnID(id []byte) bool { return bytes.HasPrefix(id, []byte(ownPrefix)) }

// IsTrustIssuerLabel reports whether label claims to be that of an issuer in
// the trust store.
func IsTrustIssuerLabel(label string) bool { return strings.HasPrefix(label, trustIssuerLabel) }

func id(prefix string, der []byte) []byte {
	sum := sha256.Sum256(der)
	return append([]byte(prefix), sum[:]...)
}

func label(prefix string, der []byte) string {
	sum := sha256.Sum256(der)
	return prefix + hex.EncodeToString(sum[:8])
}
