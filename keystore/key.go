// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto"
	"io"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A Key is a private key on the token. It signs; it cannot decrypt, and it
// cannot be deleted through this type. It is safe for concurrent use. It stays
// good while the token is opened again behind it, and fails with hsm.ErrClosed
// after the token is closed.
type Key struct {
	info    KeyInfo
	schemes []scheme
	signer  *p11.Signer
}

var (
	_ crypto.Signer        = (*Key)(nil)
	_ crypto.MessageSigner = (*Key)(nil)
)

// A KeyInfo describes a private key. It is a copy; nothing in it is secret.
type KeyInfo struct {
	Alias      string // CKA_LABEL; may be empty if another tool made the key
	ID         []byte // CKA_ID; certificates of the key have the same
	Type       KeyType
	Public     crypto.PublicKey // nil if the token does not hold it
	Attributes Attributes
	Problem    error // why the key cannot be used; nil if nothing is known against it
}

// Info describes the key as it was when it was opened. It does not reach the
// token.
func (k *Key) Info() KeyInfo { return k.info }

// Public returns the public half. It does not reach the token.
func (k *Key) Public() crypto.PublicKey { return k.signer.Public() }

// Sign signs a digest made with SHA-256, SHA-384 or SHA-512, as crypto.Signer
// says; opts may be an [rsa.PSSOptions] with a salt as long as the hash.
// Everything else is refused before the token is asked. A token that insists on
// hashing itself returns [ErrUnsupported]: use SignMessage. The reader is not
// used. It waits for a free session and costs one signature in the token.
func (k *Key) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) (sig []byte, err error) {
	return k.SignContext(context.Background(), digest, opts)
}

// SignContext is Sign, giving up the wait for the token when ctx ends.
func (k *Key) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) (sig []byte, err error) {
	defer wrap(&err, "sign with", k.info.Alias)
	return k.signer.SignContext(ctx, digest, opts)
}

// SignMessage hashes and signs a message, as [crypto.MessageSigner] says. It
// works with tokens that sign digests and with tokens that do not.
func (k *Key) SignMessage(random io.Reader, message []byte, opts crypto.SignerOpts) (sig []byte, err error) {
	return k.SignMessageContext(context.Background(), message, opts)
}

// SignMessageContext is SignMessage, giving up the wait for the token when ctx
// ends.
func (k *Key) SignMessageContext(ctx context.Context, message []byte, opts crypto.SignerOpts) (sig []byte, err error) {
	defer wrap(&err, "sign with", k.info.Alias)
	return k.signer.SignMessageContext(ctx, message, opts)
}

// infoOf describes a key object. public is what its public half is known to be.
func (s *Store) infoOf(k p11.Key, public crypto.PublicKey) KeyInfo {
	return KeyInfo{
		Alias:      k.Label,
		ID:         k.ID,
		Type:       typeOf(public),
		Public:     public,
		Attributes: attributesOf(k.Attributes),
	}
}

// Keys lists the private keys on the token, in no particular order, also those
// that this package would refuse: [KeyInfo.Problem] says why. No test signature
// is made. It reads every private key of the token.
func (s *Store) Keys(ctx context.Context) (_ []KeyInfo, err error) {
	defer wrap(&err, "list keys", "")
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	found, err := s.device.Keys(ctx, p11.Filter{})
	if err != nil {
		return nil, err
	}
	infos := make([]KeyInfo, len(found))
	for i, k := range found {
		infos[i] = s.infoOf(k, k.Public)
		infos[i].Problem = s.keyProblem(k, found)
	}
	return infos, nil
}

// keyProblem says why k would be refused by Key, which chooses among all keys, or by
// Identity, which chooses among those with its CKA_ID, as far as it can be known
// without a signature.
func (s *Store) keyProblem(k p11.Key, among []p11.Key) error {
	if err := s.admit(k); err != nil {
		return err
	}
	for _, other := range among {
		sameLabel := k.Label != "" && other.Label == k.Label
		if other.Object != k.Object && (sameLabel || string(other.ID) == string(k.ID)) {
			return ambiguousKeys([]p11.Key{k, other})
		}
	}
	if k.Public == nil {
		return nil // a certificate may supply it
	}
	_, err := schemesFor(k.Public, s.device.Mechanisms())
	return err
}
