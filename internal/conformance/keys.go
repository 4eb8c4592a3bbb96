// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package conformance

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hsmtls/hsmtls-go/keystore"
)

// keyTypes in the order of preference for what needs one key only.
var keyTypes = []keystore.KeyType{keystore.P256, keystore.RSA2048, keystore.RSA3072, keystore.P384, keystore.RSA4096}

func (r *trial) alias(what any) string { return fmt.Sprint(r.prefix, what) }

// generate makes a key of each type.
func (r *trial) generate() {
	for _, typ := range keyTypes {
		if only := r.subject.KeyTypes; len(only) > 0 && !slices.Contains(only, typ) {
			continue
		}
		r.feature("key "+typ.String(), func(ctx context.Context) error {
			key, err := r.keys.Generate(ctx, r.alias(typ), typ)
			if err != nil {
				return err
			}
			r.made[typ] = key
			_, err = r.keys.Generate(ctx, r.alias(typ), typ)
			if !errors.Is(err, keystore.ErrExists) {
				return fmt.Errorf("second key under the alias: %w", orMissing(err))
			}
			return nil
		})
	}
}

// orMissing stands for a refusal that did not come.
func orMissing(err error) error {
	if err == nil {
		return errors.New("it was not refused")
	}
	return err
}

// attest compares what the token says of its keys with what they should be.
func (r *trial) attest() {
	r.feature("attestation of keys", func(context.Context) error {
		if len(r.made) == 0 {
			return notTriedError("no key")
		}
		for typ, key := range r.made {
			if lacks := lacking(key.Info().Attributes); len(lacks) > 0 {
				return degradedError(fmt.Sprintf("%v: the token does not say %s", typ, strings.Join(lacks, ", ")))
			}
		}
		return nil
	})
}

func lacking(a keystore.Attributes) (names []string) {
	for _, attribute := range []struct {
		name string
		good bool
	}{
		{"SENSITIVE", a.Sensitive}, {"ALWAYS_SENSITIVE", a.AlwaysSensitive},
		{"not EXTRACTABLE", !a.Extractable}, {"NEVER_EXTRACTABLE", a.NeverExtractable},
		{"LOCAL", a.Local}, {"PRIVATE", a.Private}, {"SIGN", a.Sign},
		{"SIGN only", !a.Decrypt && !a.Unwrap && !a.Derive && !a.SignRecover},
	} {
		if !attribute.good {
			names = append(names, attribute.name)
		}
	}
	return names
}

// A scheme is a way to sign.
type scheme struct {
	name string
	rsa  bool
	opts crypto.SignerOpts
}

var schemes = []scheme{
	{"PKCS #1 v1.5, SHA-256", true, crypto.SHA256},
	{"PKCS #1 v1.5, SHA-384", true, crypto.SHA384},
	{"PKCS #1 v1.5, SHA-512", true, crypto.SHA512},
	{"PSS, SHA-256", true, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}},
	{"PSS, SHA-384", true, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA384}},
	{"PSS, SHA-512", true, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA512}},
	{"ECDSA, SHA-256", false, crypto.SHA256},
	{"ECDSA, SHA-384", false, crypto.SHA384},
}

// any returns a key of the algorithm, nil if there is none.
func (r *trial) any(isRSA bool) *keystore.Key {
	for _, typ := range keyTypes {
		key := r.made[typ]
		if key == nil {
			continue
		}
		if _, ok := key.Public().(*rsa.PublicKey); ok == isRSA {
			return key
		}
	}
	return nil
}

// sign makes a signature of each scheme, of a digest and of a message.
func (r *trial) sign() {
	for _, s := range schemes {
		r.feature("sign "+s.name, func(ctx context.Context) error {
			key := r.any(s.rsa)
			if key == nil {
				return notTriedError("no key of this kind")
			}
			message := []byte("to be signed")
			sig, err := key.SignMessageContext(ctx, message, s.opts)
			if err != nil {
				return err
			}
			h := s.opts.HashFunc().New()
			h.Write(message)
			if err := verify(key.Public(), s.opts, h.Sum(nil), sig); err != nil {
				return err
			}
			sig, err = key.SignContext(ctx, h.Sum(nil), s.opts)
			if isRefusal(err) {
				return degradedError("messages only: " + reason(err))
			}
			return errors.Join(err, verify(key.Public(), s.opts, h.Sum(nil), sig))
		})
	}
}

func verify(public crypto.PublicKey, opts crypto.SignerOpts, digest, sig []byte) error {
	ok := false
	switch k := public.(type) {
	case *rsa.PublicKey:
		if pss, is := opts.(*rsa.PSSOptions); is {
			return rsa.VerifyPSS(k, opts.HashFunc(), digest, sig, pss)
		}
		return rsa.VerifyPKCS1v15(k, opts.HashFunc(), digest, sig)
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(k, digest, sig)
	}
	if !ok {
		return errors.New("signature does not verify")
	}
	return nil
}

// request makes a certificate request with each key.
func (r *trial) request() {
	r.feature("certificate requests", func(ctx context.Context) error {
		if len(r.made) == 0 {
			return notTriedError("no key")
		}
		for typ := range r.made {
			if _, err := r.csr(ctx, typ); err != nil {
				return fmt.Errorf("%v: %w", typ, err)
			}
		}
		return nil
	})
}

func (r *trial) csr(ctx context.Context, typ keystore.KeyType) (*x509.CertificateRequest, error) {
	der, err := r.keys.CSR(ctx, r.alias(typ), keystore.Request{
		Subject: pkix.Name{CommonName: "unit 1"}, DNSNames: []string{"unit-1.test"}, IPAddresses: loopback,
	})
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	return csr, csr.CheckSignature()
}
