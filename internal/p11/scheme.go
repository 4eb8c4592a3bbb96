// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// digestInfo is the DER that stands before a digest in an RSASSA-PKCS1-v1_5
// signature (RFC 8017 section 9.2, note 1).
var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	crypto.SHA384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}

// pssHashes are the parameters of CKM_RSA_PKCS_PSS (PKCS#11 v2.40 mechanisms,
// section 2.1.9).
var pssHashes = map[crypto.Hash]struct{ hash, mgf uint }{
	crypto.SHA256: {pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256},
	crypto.SHA384: {pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384},
	crypto.SHA512: {pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512},
}

// A ckMechanism is a mechanism for C_SignInit. A salt makes it PSS.
type ckMechanism struct {
	Mechanism       Mechanism
	Hash, MGF, Salt uint
}

// signInit begins a signature that needs a login before it is made.
func (v session) signInit(m ckMechanism, key pkcs11.ObjectHandle) error {
	var parameters any
	if m.Salt > 0 {
		parameters = pkcs11.NewPSSParams(m.Hash, m.MGF, m.Salt)
	}
	mechanism := pkcs11.NewMechanism(uint(m.Mechanism), parameters)
	return wrap("C_SignInit", v.raw.SignInit(v.handle, []*pkcs11.Mechanism{mechanism}, key))
}

// maxInput is the longest input that is not a message: a DigestInfo.
const maxInput = 19 + sha512.Size

// forToken is the mechanism and the input for C_SignInit and C_Sign. The input
// may be in room.
func (r *signRequest) forToken(public crypto.PublicKey, room *[maxInput]byte) (ckMechanism, []byte) {
	m, input := ckMechanism{Mechanism: r.rawMechanism(public)}, r.digest()
	if r.message != nil {
		m.Mechanism, input = r.hashingMechanism(public), r.message
	}
	if m.Mechanism == RSAPKCS {
		input = append(append(room[:0], digestInfo[r.hash]...), r.digest()...)
	}
	if r.pss {
		h := pssHashes[r.hash]
		m.Hash, m.MGF, m.Salt = h.hash, h.mgf, uint(r.hash.Size())
	}
	return m, input
}

// size is the length of a token's signature.
func size(public crypto.PublicKey) int {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return k.Size()
	case *ecdsa.PublicKey:
		return 2 * ((k.Params().BitSize + 7) / 8)
	}
	return maxSignature
}

// maxSignature is for keys whose public half is not known here.
const maxSignature = 1024

// fromToken makes a standard signature of a token's. PKCS#11 gives the two
// numbers of an ECDSA signature one after the other (PKCS#11 v2.40 mechanisms,
// section 2.3.1); everybody else wants them in DER (RFC 3279 section 2.2.3).
func (r *signRequest) fromToken(public crypto.PublicKey, sig []byte) ([]byte, error) {
	if _, ec := public.(*ecdsa.PublicKey); !ec {
		return sig, nil
	}
	half := len(sig) / 2
	if half == 0 || len(sig)%2 != 0 || half > maxHalf {
		return nil, fmt.Errorf("ECDSA signature of %d bytes", len(sig))
	}
	a, b := positive(sig[:half]), positive(sig[half:])
	der := make([]byte, 0, 3+a.size()+b.size())
	der = append(der, 0x30) // SEQUENCE
	if content := a.size() + b.size(); content < 0x80 {
		der = append(der, byte(content))
	} else {
		der = append(der, 0x81, byte(content))
	}
	return b.append(a.append(der)), nil
}

// maxHalf is the most bytes of a number in an ECDSA signature that derInteger and
// fromToken can do: more than P-521 has.
const maxHalf = 72

// A derInteger is a number above zero, big-endian, without zero bytes before it.
type derInteger []byte

func positive(b []byte) derInteger {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// sign is the number of zero bytes that keep it from reading as negative.
func (d derInteger) sign() int { return int(d[0] >> 7) }

func (d derInteger) size() int { return 2 + d.sign() + len(d) }

func (d derInteger) append(der []byte) []byte {
	der = append(der, 0x02, byte(d.size()-2))
	return append(append(der, make([]byte, d.sign())...), d...)
}

var errSignature = errors.New("signature does not verify")

// verify checks a signature in software.
func (r *signRequest) verify(public crypto.PublicKey, sig []byte) error {
	digest := r.digest()
	if r.message != nil {
		h := r.hash.New()
		h.Write(r.message)
		digest = h.Sum(nil)
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		if r.pss {
			return rsa.VerifyPSS(k, r.hash, digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.VerifyPKCS1v15(k, r.hash, digest, sig)
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(k, digest, sig) {
			return nil
		}
	}
	return errSignature
}
