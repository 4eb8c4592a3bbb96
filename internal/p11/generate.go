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
	"slices"

	"github.com/miekg/pkcs11"
)

// What a key may do: the private half signs, the public half verifies, and
// neither does anything else. Tokens default to more.
var (
	publicUsage = []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY_RECOVER, false),
		pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, false),
	}
	privateUsage = []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN_RECOVER, false),
		pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
	}
)

// publicUsages are what to ask of the public half of a new key, the best first. Who
// verifies with it does so outside the token, so it may go without: tpm2-pkcs11 has
// CKA_VERIFY only for keys that may decrypt, and CKA_ENCRYPT for those that sign.
var publicUsages = [][]*pkcs11.Attribute{publicUsage, {pkcs11.NewAttribute(pkcs11.CKA_VERIFY, false)}}

// GenerateKey makes a key pair inside the token. An answer that was lost is
// looked for before another key is made.
func (h *handle) GenerateKey(ctx context.Context, t KeyTemplate) (_ Key, refusal error) {
	kind, err := t.kind()
	if err != nil {
		return Key{}, err
	}
	there := func() (bool, error) { return h.has(ctx, t.ID) }
	for _, usage := range publicUsages {
		err = confirm(func() error { return h.generate(ctx, t, kind, usage) }, there)
		if err == nil {
			return h.one(ctx, t.ID)
		}
		refusal = err
		if !isTemplateRefusal(err) && codeOf(err) != ckrGeneralError {
			break
		}
	}
	return Key{}, refusal
}

// generate writes a key pair once.
func (h *handle) generate(ctx context.Context, t KeyTemplate, k keyKind, publicUsage []*pkcs11.Attribute) error {
	_, err := object(ctx, h, false, func(v session) (struct{}, error) {
		defer v.pool.generation.forget()
		mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(uint(k.mechanism), nil)}
		public := t.half(pkcs11.CKO_PUBLIC_KEY, k.both, k.public, publicUsage)
		private := t.half(pkcs11.CKO_PRIVATE_KEY, k.both, privateUsage)
		_, _, err := v.raw.GenerateKeyPair(v.handle, mechanism, public, private)
		return struct{}{}, wrap("C_GenerateKeyPair", err)
	})
	return err
}

// has reports whether there is a private key with that CKA_ID.
func (h *handle) has(ctx context.Context, id []byte) (bool, error) {
	keys, err := h.Keys(ctx, Filter{ID: id})
	return len(keys) > 0, err
}

func (t KeyTemplate) check() error {
	if t.Label == "" || len(t.ID) == 0 {
		return fmt.Errorf("key template without a label or CKA_ID")
	}
	return nil
}

// half is the template of one half of a key pair.
func (t KeyTemplate) half(class uint, attributes ...[]*pkcs11.Attribute) []*pkcs11.Attribute {
	return slices.Concat(append(attributes, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.Label),
		pkcs11.NewAttribute(pkcs11.CKA_ID, t.ID),
	})...)
}

// A keyKind is how a pair of a type is made: the mechanism, and what to say of both
// halves and of the public one (PKCS#11 v2.40 mechanisms, sections 2.1.4 and 2.3.5).
type keyKind struct {
	mechanism    Mechanism
	both, public []*pkcs11.Attribute
}

// kind says what key is to be made, of a template that is complete.
func (t KeyTemplate) kind() (keyKind, error) {
	if err := t.check(); err != nil {
		return keyKind{}, err
	}
	if bits, ok := rsaBits[t.Type]; ok {
		return keyKind{
			mechanism: RSAKeyPairGen,
			both:      []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA)},
			public: []*pkcs11.Attribute{
				pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, bits),
				pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
			},
		}, nil
	}
	curve, ok := curves[t.Type]
	if !ok {
		return keyKind{}, fmt.Errorf("%w: key type %d", ErrUnsupported, t.Type)
	}
	params, err := curveParams(curve)
	return keyKind{
		mechanism: ECKeyPairGen,
		both:      []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC)},
		public:    []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, params)},
	}, err
}

var (
	rsaBits = map[KeyType]int{RSA2048: 2048, RSA3072: 3072, RSA4096: 4096}
	curves  = map[KeyType]elliptic.Curve{P256: elliptic.P256(), P384: elliptic.P384()}
)

// ImportKey writes a key pair that was made elsewhere.
func (h *handle) ImportKey(ctx context.Context, t KeyTemplate, key crypto.PrivateKey) (Key, error) {
	public, private, err := importTemplates(t, key)
	if err != nil {
		return Key{}, err
	}
	_, err = object(ctx, h, false, func(v session) (struct{}, error) {
		defer v.pool.generation.forget()
		o, err := v.raw.CreateObject(v.handle, public)
		if err != nil {
			return struct{}{}, wrap("C_CreateObject", err)
		}
		// The private half last: a key that is there is there as a whole.
		if _, err = v.raw.CreateObject(v.handle, private); err != nil {
			_ = v.raw.DestroyObject(v.handle, o)
		}
		return struct{}{}, wrap("C_CreateObject", err)
	})
	if err != nil {
		return Key{}, err
	}
	return h.one(ctx, t.ID)
}

func importTemplates(t KeyTemplate, key crypto.PrivateKey) (public, private []*pkcs11.Attribute, err error) {
	if err := t.check(); err != nil {
		return nil, nil, err
	}
	pub, prv, err := keyMaterial(key)
	if err != nil {
		return nil, nil, err
	}
	return t.half(pkcs11.CKO_PUBLIC_KEY, pub, publicUsage), t.half(pkcs11.CKO_PRIVATE_KEY, prv, privateUsage), nil
}

// keyMaterial gives the numbers of a key as attributes.
func keyMaterial(key crypto.PrivateKey) (public, private []*pkcs11.Attribute, err error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if len(k.Primes) != 2 {
			return nil, nil, fmt.Errorf("%w: RSA key of %d primes", ErrUnsupported, len(k.Primes))
		}
		k.Precompute()
		public, private = rsaMaterial(k)
		return public, private, nil
	case *ecdsa.PrivateKey:
		return ecMaterial(k)
	}
	return nil, nil, fmt.Errorf("%w: import of a %T", ErrUnsupported, key)
}

func rsaMaterial(k *rsa.PrivateKey) (public, private []*pkcs11.Attribute) {
	public = []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA),
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS, k.N.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(k.E)).Bytes()),
	}
	private = append(public[:3:3],
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE_EXPONENT, k.D.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_PRIME_1, k.Primes[0].Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_PRIME_2, k.Primes[1].Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_1, k.Precomputed.Dp.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_EXPONENT_2, k.Precomputed.Dq.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_COEFFICIENT, k.Precomputed.Qinv.Bytes()),
	)
	return public, private
}

func ecMaterial(k *ecdsa.PrivateKey) (public, private []*pkcs11.Attribute, err error) {
	params, err := curveParams(k.Curve)
	if err != nil {
		return nil, nil, err
	}
	point, err := k.PublicKey.Bytes()
	if err != nil {
		return nil, nil, err
	}
	if point, err = asn1.Marshal(point); err != nil {
		return nil, nil, err
	}
	secret, err := k.Bytes()
	if err != nil {
		return nil, nil, err
	}
	kind := pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_EC)
	curve := pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, params)
	public = []*pkcs11.Attribute{kind, curve, pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, point)}
	private = []*pkcs11.Attribute{kind, curve, pkcs11.NewAttribute(pkcs11.CKA_VALUE, secret)}
	return public, private, nil
}

func curveParams(curve elliptic.Curve) ([]byte, error) {
	for oid, c := range curveOIDs {
		if c != curve {
			continue
		}
		parsed, err := x509.ParseOID(oid)
		if err != nil {
			return nil, err
		}
		der, err := parsed.MarshalBinary() // the contents, without tag and length
		return append([]byte{asn1.TagOID, byte(len(der))}, der...), err
	}
	return nil, fmt.Errorf("%w: curve %s", ErrUnsupported, curve.Params().Name)
}
