// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package p11

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"io"
)

// A Signer signs with one private key on a token. It has the two signing
// methods of the standard library and nothing else: no deletion, no
// decryption. It is safe for concurrent use and stays good when the token is
// opened again behind it.
type Signer struct {
	id     []byte
	public crypto.PublicKey
	token  signingToken
}

// signingToken is what a Signer needs of a token.
type signingToken interface {
	sign(ctx context.Context, k *Signer, r signRequest) ([]byte, error)
	can(m Mechanism) bool
}

// A signRequest is a signature to make, already checked.
type signRequest struct {
	hash    crypto.Hash
	pss     bool
	message []byte // the whole message if the token has to hash it, else nil
	sum     [sha512.Size]byte
}

// digest is what is signed unless there is a message.
func (r *signRequest) digest() []byte { return r.sum[:r.hash.Size()] }

// hashed puts the digest of a message in its place.
func (r *signRequest) hashed(message []byte) {
	switch r.hash {
	case crypto.SHA256:
		sum := sha256.Sum256(message)
		copy(r.sum[:], sum[:])
	case crypto.SHA384:
		sum := sha512.Sum384(message)
		copy(r.sum[:], sum[:])
	case crypto.SHA512:
		r.sum = sha512.Sum512(message)
	}
}

var (
	_ crypto.Signer        = (*Signer)(nil)
	_ crypto.MessageSigner = (*Signer)(nil)
)

// Public returns the public half, without asking the token.
func (s *Signer) Public() crypto.PublicKey { return s.public }

// Sign signs a digest made with SHA-256, SHA-384 or SHA-512. Every other hash,
// a digest of the wrong length, a PSS salt that is not as long as the hash, and
// a scheme the token has no mechanism for are refused before the token is
// asked. The reader is ignored: the token has its own randomness.
func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.SignContext(context.Background(), digest, opts)
}

// SignContext is Sign, giving up the wait for the token when ctx ends.
func (s *Signer) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r, err := newSignRequest(s.public, opts)
	if err != nil {
		return nil, err
	}
	if len(digest) != r.hash.Size() {
		return nil, fmt.Errorf("digest is %d bytes, %v makes %d", len(digest), r.hash, r.hash.Size())
	}
	if !s.token.can(r.rawMechanism(s.public)) {
		return nil, fmt.Errorf("%w: %v of a digest", ErrUnsupported, r.rawMechanism(s.public))
	}
	copy(r.sum[:], digest)
	return s.token.sign(ctx, s, r)
}

// SignMessage signs a message (crypto.MessageSigner). The token gets the digest
// where it can sign one, and the message where it insists on hashing itself.
func (s *Signer) SignMessage(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.SignMessageContext(context.Background(), message, opts)
}

// SignMessageContext is SignMessage, giving up the wait for the token when ctx ends.
func (s *Signer) SignMessageContext(ctx context.Context, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	r, err := newSignRequest(s.public, opts)
	if err != nil {
		return nil, err
	}
	switch {
	case s.token.can(r.rawMechanism(s.public)):
		r.hashed(message)
	case s.token.can(r.hashingMechanism(s.public)):
		r.message = message
	default:
		return nil, fmt.Errorf("%w: neither %v nor %v", ErrUnsupported, r.rawMechanism(s.public), r.hashingMechanism(s.public))
	}
	return s.token.sign(ctx, s, r)
}

// newSignRequest checks what can be checked without the token.
func newSignRequest(public crypto.PublicKey, opts crypto.SignerOpts) (signRequest, error) {
	if opts == nil {
		return signRequest{}, fmt.Errorf("%w: signature without a hash", ErrUnsupported)
	}
	r := signRequest{hash: opts.HashFunc()}
	if r.hash != crypto.SHA256 && r.hash != crypto.SHA384 && r.hash != crypto.SHA512 {
		return r, fmt.Errorf("%w: hash %v", ErrUnsupported, r.hash)
	}
	pss, ok := opts.(*rsa.PSSOptions)
	if !ok {
		return r, nil
	}
	if _, isRSA := public.(*rsa.PublicKey); !isRSA {
		return r, fmt.Errorf("%w: PSS with a key that is not RSA", ErrUnsupported)
	}
	// RFC 8446 section 4.2.3 fixes the salt at the length of the hash, and
	// some tokens (tpm2-pkcs11) do no other.
	switch pss.SaltLength {
	case rsa.PSSSaltLengthAuto, rsa.PSSSaltLengthEqualsHash, r.hash.Size():
		r.pss = true
		return r, nil
	}
	return r, fmt.Errorf("%w: PSS salt of %d bytes", ErrUnsupported, pss.SaltLength)
}

// rawMechanism is the mechanism that signs a digest.
func (r *signRequest) rawMechanism(public crypto.PublicKey) Mechanism {
	switch _, ec := public.(*ecdsa.PublicKey); {
	case ec:
		return ECDSA
	case r.pss:
		return RSAPKCSPSS
	}
	return RSAPKCS
}

// hashingMechanism is the mechanism that hashes and signs a message. ECDSA has
// none here: every token that does ECDSA signs digests.
func (r *signRequest) hashingMechanism(public crypto.PublicKey) Mechanism {
	if _, ec := public.(*ecdsa.PublicKey); ec {
		return ECDSA
	}
	if r.pss {
		return pssMessages[r.hash]
	}
	return pkcs1Messages[r.hash]
}

var (
	pkcs1Messages = map[crypto.Hash]Mechanism{crypto.SHA256: SHA256RSAPKCS, crypto.SHA384: SHA384RSAPKCS, crypto.SHA512: SHA512RSAPKCS}
	pssMessages   = map[crypto.Hash]Mechanism{crypto.SHA256: SHA256RSAPSS, crypto.SHA384: SHA384RSAPSS, crypto.SHA512: SHA512RSAPSS}
)
