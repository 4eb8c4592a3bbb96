// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// proofs remembers which private keys have shown that they belong to which
// public keys. The zero value is ready for use.
type proofs struct {
	mu   sync.Mutex
	done map[proof]p11.Object
}

// A proof is a CKA_ID with a public key, of which a private key object has shown that
// it belongs to both.
type proof [sha256.Size]byte

func (p *proofs) has(key proof, shown p11.Object) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.done[key]
	return ok && o == shown
}

func (p *proofs) add(key proof, shown p11.Object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		p.done = map[proof]p11.Object{}
	}
	p.done[key] = shown
}

// prove has the token sign something fresh and verifies it with the public key,
// once for each pair of private key object and public key.
func (s *Store) prove(ctx context.Context, k p11.Key, signer *p11.Signer, how scheme) error {
	key, err := proofOf(k.ID, signer.Public())
	if err != nil || s.proofs.has(key, k.Object) {
		return err
	}
	// The words keep the signature from being of use anywhere else.
	challenge := []byte("hsmtls-go proof of possession\x00" + rand.Text())
	sig, err := signer.SignMessageContext(ctx, challenge, how.opts())
	if err != nil {
		return signerError(err)
	}
	if !how.verify(signer.Public(), challenge, sig) {
		return fmt.Errorf("%w: a test signature does not verify", ErrMismatch)
	}
	s.proofs.add(key, k.Object)
	return nil
}

func proofOf(id []byte, public crypto.PublicKey) (proof, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return proof{}, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	sum := sha256.Sum256(der)
	return sha256.Sum256(append(sum[:], id...)), nil
}
