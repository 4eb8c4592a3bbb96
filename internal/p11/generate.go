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

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"
)

// usage is what a key may do: the private half signs, the public half verifies,
// and neither does anything else. Tokens default to more.
var (
	publicUsage = map[crypto11.AttributeType]any{
		pkcs11.CKA_VERIFY:         true,
		pkcs11.CKA_ENCRYPT:        false,
		pkcs11.CKA_WRAP:           false,
		pkcs11.CKA_VERIFY_RECOVER: false,
		pkcs11.CKA_MODIFIABLE:     false,
	}
	privateUsage = map[crypto11.AttributeType]any{
		pkcs11.CKA_SIGN:         true,
		pkcs11.CKA_DECRYPT:      false,
		pkcs11.CKA_UNWRAP:       false,
		pkcs11.CKA_DERIVE:       false,
		pkcs11.CKA_SIGN_RECOVER: false,
		pkcs11.CKA_MODIFIABLE:   false,
		pkcs11.CKA_PRIVATE:      true,
		pkcs11.CKA_SENSITIVE:    true,
		pkcs11.CKA_EXTRACTABLE:  false,
	}
)

// GenerateKey makes a key pair inside the token. An answer that was lost is
// looked for before another key is made.
func (h *handle) GenerateKey(ctx context.Context, t KeyTemplate) (_ Key, refusal error) {
	kind, ok := keyKinds[t.Type]
	if !ok {
		return Key{}, fmt.Errorf("%w: key type %d", ErrUnsupported, t.Type)
	}
	private, err := attributeSet(t, privateUsage)
	if err != nil {
		return Key{}, err
	}
	there := func() (bool, error) { return h.has(ctx, t.ID) }
	for _, usage := range publicUsages {
		public, err := attributeSet(t, usage)
		if err != nil {
			return Key{}, err
		}
		err = confirm(func() error { return h.generate(ctx, kind, public, private) }, there)
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

// publicUsages are what to ask of the public half, the best first. Who verifies
// with it does so outside the token, so it may go without: tpm2-pkcs11 has
// CKA_VERIFY only for keys that may decrypt, and CKA_ENCRYPT for those that sign.
// It is not left out, because crypto11 asks for it then.
var publicUsages = []map[crypto11.AttributeType]any{publicUsage, {pkcs11.CKA_VERIFY: false}}

// generate writes a key pair once.
func (h *handle) generate(ctx context.Context, kind keyKind, public, private crypto11.AttributeSet) error {
	_, err := object(ctx, h, false, func(v session) (struct{}, error) {
		defer v.pool.generation.forget()
		return struct{}{}, v.generate(kind, public.Copy(), private.Copy())
	})
	return err
}

// has reports whether there is a private key with that CKA_ID.
func (h *handle) has(ctx context.Context, id []byte) (bool, error) {
	keys, err := h.Keys(ctx, Filter{ID: id})
	return len(keys) > 0, err
}

func attributeSet(t KeyTemplate, usage map[crypto11.AttributeType]any) (crypto11.AttributeSet, error) {
	if t.Label == "" || len(t.ID) == 0 {
		return nil, fmt.Errorf("key template without a label or CKA_ID")
	}
	set, err := crypto11.NewAttributeSetWithIDAndLabel(t.ID, []byte(t.Label))
	if err != nil {
		return nil, err
	}
	for attribute, value := range usage {
		if err := set.Set(attribute, value); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// A keyKind is what a key type means to crypto11: a curve, or a size in bits.
type keyKind struct {
	curve elliptic.Curve
	bits  int
}

var keyKinds = map[KeyType]keyKind{
	RSA2048: {bits: 2048},
	RSA3072: {bits: 3072},
	RSA4096: {bits: 4096},
	P256:    {curve: elliptic.P256()},
	P384:    {curve: elliptic.P384()},
}

// generate has crypto11 make the key pair, in a Context of its own that shares
// the login. Where crypto11 cannot use the module, it is done here.
func (v session) generate(k keyKind, public, private crypto11.AttributeSet) error {
	m := v.pool.core.module
	if !v.pool.instance.anchored {
		return v.generateRaw(k, public, private)
	}
	c, err := m.configure(m.slotConfig(v.pool.slot))
	if err != nil {
		return wrap("C_OpenSession", err)
	}
	defer func() { _ = c.Close() }()
	if k.curve != nil {
		_, err = c.GenerateECDSAKeyPairWithAttributes(public, private, k.curve)
	} else {
		_, err = c.GenerateRSAKeyPairWithAttributes(public, private, k.bits)
	}
	return wrap("C_GenerateKeyPair", err)
}

// generateRaw makes a key pair with C_GenerateKeyPair.
func (v session) generateRaw(k keyKind, public, private crypto11.AttributeSet) error {
	mechanism := pkcs11.NewMechanism(uint(RSAKeyPairGen), nil)
	kind := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, k.bits),
		pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
	}
	if k.curve != nil {
		params, err := curveParams(k.curve)
		if err != nil {
			return err
		}
		mechanism = pkcs11.NewMechanism(uint(ECKeyPairGen), nil)
		kind = []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, params)}
	}
	token := pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true)
	_, _, err := v.raw.GenerateKeyPair(v.handle, []*pkcs11.Mechanism{mechanism},
		append(public.ToSlice(), append(kind, token)...), append(private.ToSlice(), token))
	return wrap("C_GenerateKeyPair", err)
}

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
	publicSet, err := attributeSet(t, publicUsage)
	if err != nil {
		return nil, nil, err
	}
	privateSet, err := attributeSet(t, privateUsage)
	if err != nil {
		return nil, nil, err
	}
	pub, prv, err := keyMaterial(key)
	if err != nil {
		return nil, nil, err
	}
	token := pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true)
	public = append(publicSet.ToSlice(), append(pub, token, pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY))...)
	private = append(privateSet.ToSlice(), append(prv, token, pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY))...)
	return public, private, nil
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
