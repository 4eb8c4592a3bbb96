// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// Package keystore holds key pairs and identities on a PKCS#11 token.
//
// A key pair is named by its key alias, the CKA_LABEL of the private key. An
// identity is a certificate of such a key, with the certificates of its
// issuers; it is named by its certificate alias, the CKA_LABEL of the
// certificate, such as "terminal_pub". One key pair may have several
// identities, because each server may recognise another issuer. The private key
// is made inside the token and does not leave it; what does leave is a
// [tls.Certificate] that signs by asking the token.
//
// # How an alias is resolved
//
// There is one order, and no second guess:
//
//  1. the certificate whose CKA_LABEL is the alias; trusted entries and the
//     issuers kept for chains do not count,
//  2. the private key whose CKA_ID is the certificate's,
//  3. what the token says of that key: made inside, never extractable, may sign,
//  4. the proof: a test signature of the key verifies with the certificate. It is
//     made once per key and Store, and again after an outage. What the token has as
//     public half of the key only says why, if it does not.
//
// Two candidates in step 1 or 2 are [ErrAmbiguous]; copies that are the same in label,
// id and certificate are one. While [Store.Replace] is at
// work there are two certificates for a moment; a note on the token says which.
//
// # What other tools see
//
// The objects are ordinary ones. A certificate has the CKA_ID of its key, so
// pkcs11-tool, p11tool, OpenSSL and Java's SunPKCS11 pair them. Issuers have
// labels of their own, so that no label names two certificates, which would turn
// Java's key store read-only. Java lists an identity as a PrivateKeyEntry with its
// chain, under the certificate alias, and lists one for each private key: of
// several identities with one key it shows one, which cannot be chosen, and hides
// the others without a word. Give identities that Java is to use keys of their own.
//
// # Interruptions
//
// A process may die at any moment: what is found under every alias afterwards is
// what was found before its operation, or what the operation was to bring about.
// What else it has left on the token is harmless, listed by [Store.Leftovers] and
// removed by [Store.Clean].
//
// A context that ends while the token writes a certificate does not stop the token:
// the write is waited for, ten seconds at most, and undone. One that takes longer may
// turn up afterwards, beside the certificate that it should have replaced
// ([ErrAmbiguous]).
//
// # Two writers
//
// One Store does one write at a time. Different Stores and processes may read at
// any time. There is no lock between processes, since PKCS#11 has none: writers
// look again after they have written. Of two that inject or generate under one
// alias at the same moment at most one succeeds, and both may fail; of two that
// replace one identity, the last counts, or both fail and the old one stays; an
// issuer that is removed while somebody comes to need it is written again, or
// that Inject fails. Not noticed is an Inject while DeleteKey destroys the key
// of it, which leaves a certificate without key ([ErrMismatch]), and a process
// that is killed while another one replaces the same identity, which may leave it
// [ErrAmbiguous]. Where that matters, writers should take turns.
package keystore

import (
	"context"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	names "github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A Store is the keys and identities of one token. It is safe for concurrent
// use once its fields are set. It has nothing to close; after the token is
// closed its methods return hsm.ErrClosed, as those of the zero Store do.
type Store struct {
	// AllowInsecureKeys admits private keys that are extractable or were not
	// made inside the token, and lets ImportInsecure bring in such keys. False
	// means they are refused with [ErrExtractable].
	AllowInsecureKeys bool

	// Now is the clock by which certificates are judged. Nil means [time.Now].
	Now func() time.Time

	device  p11.Token
	writing sync.Mutex
	proofs  proofs
	cache   cache
}

// New returns the keystore of a token. It does not reach the token. A nil token
// is a closed one.
func New(tok *hsm.Token) *Store {
	if tok == nil {
		return &Store{}
	}
	return newStore(tok.Device())
}

func newStore(device p11.Token) *Store { return &Store{device: device} }

func (s *Store) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// ready reports whether there is a point in asking the token, and whether the
// names are names.
func (s *Store) ready(ctx context.Context, aliases ...string) error {
	for _, a := range aliases {
		if err := names.Check(a); err != nil {
			return err
		}
	}
	if s.device == nil {
		return p11.ErrClosed
	}
	return ctx.Err()
}
