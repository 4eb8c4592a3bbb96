// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"
)

// Keys returns the private keys that match f with their public halves.
func (h *handle) Keys(ctx context.Context, f Filter) ([]Key, error) {
	return h.keys(ctx, f, session.pair)
}

// PrivateKeys returns the private keys that match f.
func (h *handle) PrivateKeys(ctx context.Context, f Filter) ([]Key, error) {
	return h.keys(ctx, f, session.key)
}

func (h *handle) keys(ctx context.Context, f Filter, read func(session, pkcs11.ObjectHandle) (Key, error)) ([]Key, error) {
	return object(ctx, h, true, func(v session) ([]Key, error) {
		keys, err := collect(v, pkcs11.CKO_PRIVATE_KEY, f, func(o pkcs11.ObjectHandle) (Key, error) { return read(v, o) })
		if err == nil && len(keys) == 1 && len(f.ID) > 0 && f.Label == "" {
			// Who signs with it need not look for it again.
			v.pool.generation.keep(f.ID, pkcs11.ObjectHandle(keys[0].handle), keys[0].AlwaysAuthenticate)
		}
		return keys, err
	})
}

func (v session) pair(h pkcs11.ObjectHandle) (Key, error) {
	k, err := v.key(h)
	if err != nil {
		return Key{}, err
	}
	return k, v.addPublic(&k)
}

func (v session) key(h pkcs11.ObjectHandle) (Key, error) {
	a, err := v.attributes(h, pkcs11.CKA_LABEL, pkcs11.CKA_ID, pkcs11.CKA_KEY_TYPE,
		pkcs11.CKA_SENSITIVE, pkcs11.CKA_ALWAYS_SENSITIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_NEVER_EXTRACTABLE,
		pkcs11.CKA_LOCAL, pkcs11.CKA_PRIVATE, pkcs11.CKA_SIGN, pkcs11.CKA_DECRYPT, pkcs11.CKA_UNWRAP,
		pkcs11.CKA_DERIVE, pkcs11.CKA_SIGN_RECOVER, pkcs11.CKA_ALWAYS_AUTHENTICATE)
	if err != nil {
		return Key{}, err
	}
	return Key{
		Object: v.object(h),
		Label:  string(a[pkcs11.CKA_LABEL]),
		ID:     a.bytes(pkcs11.CKA_ID),

		Algorithm: a.algorithm(),
		Attributes: Attributes{
			Sensitive:          a.bool(pkcs11.CKA_SENSITIVE),
			AlwaysSensitive:    a.bool(pkcs11.CKA_ALWAYS_SENSITIVE),
			Extractable:        a.bool(pkcs11.CKA_EXTRACTABLE),
			NeverExtractable:   a.bool(pkcs11.CKA_NEVER_EXTRACTABLE),
			Local:              a.bool(pkcs11.CKA_LOCAL),
			Private:            a.bool(pkcs11.CKA_PRIVATE),
			Sign:               a.bool(pkcs11.CKA_SIGN),
			Decrypt:            a.bool(pkcs11.CKA_DECRYPT),
			Unwrap:             a.bool(pkcs11.CKA_UNWRAP),
			Derive:             a.bool(pkcs11.CKA_DERIVE),
			SignRecover:        a.bool(pkcs11.CKA_SIGN_RECOVER),
			AlwaysAuthenticate: a.bool(pkcs11.CKA_ALWAYS_AUTHENTICATE),
		},
	}, nil
}

// algorithm is the kind of a key. The number of RSA is zero, so a key that does not
// say what it is must be told from one that does.
func (a attributes) algorithm() x509.PublicKeyAlgorithm {
	switch kind := a.ulong(pkcs11.CKA_KEY_TYPE); {
	case len(a[pkcs11.CKA_KEY_TYPE]) == 0:
	case kind == pkcs11.CKK_RSA:
		return x509.RSA
	case kind == pkcs11.CKK_EC:
		return x509.ECDSA
	}
	return x509.UnknownPublicKeyAlgorithm
}

// addPublic finds the public half of k. Without a CKA_ID nothing says which
// one it is, and of two different ones neither is it.
func (v session) addPublic(k *Key) error {
	if len(k.ID) == 0 {
		return nil
	}
	handles, err := v.find(pkcs11.CKO_PUBLIC_KEY, Filter{ID: k.ID})
	if err != nil {
		return err
	}
	for i, h := range handles {
		k.public = append(k.public, v.object(h))
		public, err := v.publicKey(h)
		if err != nil {
			return err
		}
		if i > 0 && !samePublic(public, k.Public) {
			public = nil
		}
		k.Public = public
	}
	return nil
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// publicKey reads a public key object. A kind or encoding this package does
// not know gives nil.
func (v session) publicKey(h pkcs11.ObjectHandle) (crypto.PublicKey, error) {
	a, err := v.attributes(h, pkcs11.CKA_KEY_TYPE, pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT)
	if err != nil {
		return nil, err
	}
	switch a.algorithm() {
	case x509.RSA:
		return rsaPublicKey(a[pkcs11.CKA_MODULUS], a[pkcs11.CKA_PUBLIC_EXPONENT]), nil
	case x509.ECDSA:
		return ecPublicKey(a[pkcs11.CKA_EC_PARAMS], a[pkcs11.CKA_EC_POINT]), nil
	}
	return nil, nil
}

func rsaPublicKey(modulus, exponent []byte) crypto.PublicKey {
	e := new(big.Int).SetBytes(exponent)
	if len(modulus) == 0 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 {
		return nil
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(e.Int64())}
}

// The curves of RFC 5480 section 2.1.1.1 that this module uses.
var curveOIDs = map[string]elliptic.Curve{
	"1.2.840.10045.3.1.7": elliptic.P256(),
	"1.3.132.0.34":        elliptic.P384(),
	"1.3.132.0.35":        elliptic.P521(),
}

// ecPublicKey decodes CKA_EC_PARAMS and CKA_EC_POINT (PKCS#11 v2.40 mechanisms,
// section 2.3.3). The point is a DER OCTET STRING; old tokens give it bare.
func ecPublicKey(params, point []byte) crypto.PublicKey {
	var oid asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(params, &oid); err != nil {
		return nil
	}
	curve := curveOIDs[oid.String()]
	if curve == nil {
		return nil
	}
	var bare []byte
	if rest, err := asn1.Unmarshal(point, &bare); err == nil && len(rest) == 0 {
		point = bare
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil
	}
	return key
}

// one returns the only key with that CKA_ID.
func (h *handle) one(ctx context.Context, id []byte) (Key, error) {
	keys, err := h.Keys(ctx, Filter{ID: id})
	switch {
	case err != nil:
		return Key{}, err
	case len(keys) == 0:
		return Key{}, ErrKeyNotFound
	case len(keys) > 1:
		return Key{}, ErrKeyAmbiguous
	case keys[0].Public == nil:
		return Key{}, fmt.Errorf("%w: no public half", ErrKeyMismatch)
	}
	return keys[0], nil
}
