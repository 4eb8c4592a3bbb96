// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A KeyType is a kind of key pair. The zero KeyType is none, and an error
// wherever one is needed.
type KeyType int

// The key types.
const (
	RSA2048 KeyType = iota + 1
	RSA3072
	RSA4096
	P256
	P384
)

// minRSABits is the shortest RSA modulus that is accepted (RFC 9325 section 4.5).
const minRSABits = 2048

var keyTypes = map[KeyType]struct {
	name   string
	device p11.KeyType
	pair   p11.Mechanism
}{
	RSA2048: {"rsa2048", p11.RSA2048, p11.RSAKeyPairGen},
	RSA3072: {"rsa3072", p11.RSA3072, p11.RSAKeyPairGen},
	RSA4096: {"rsa4096", p11.RSA4096, p11.RSAKeyPairGen},
	P256:    {"p256", p11.P256, p11.ECKeyPairGen},
	P384:    {"p384", p11.P384, p11.ECKeyPairGen},
}

// String returns "rsa2048", "rsa3072", "rsa4096", "p256", "p384", or "other"
// for everything else.
func (t KeyType) String() string {
	if k, ok := keyTypes[t]; ok {
		return k.name
	}
	return "other"
}

// ParseKeyType returns the KeyType that String calls name.
func ParseKeyType(name string) (KeyType, error) {
	for t, k := range keyTypes {
		if k.name == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("keystore: unknown key type %q", name)
}

// typeOf returns the type of a public key, or zero if it is none of ours.
func typeOf(public crypto.PublicKey) KeyType {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return map[int]KeyType{2048: RSA2048, 3072: RSA3072, 4096: RSA4096}[k.N.BitLen()]
	case *ecdsa.PublicKey:
		return map[elliptic.Curve]KeyType{elliptic.P256(): P256, elliptic.P384(): P384}[k.Curve]
	}
	return 0
}

// samePublic reports whether two public keys are one.
func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && b != nil && k.Equal(b)
}
