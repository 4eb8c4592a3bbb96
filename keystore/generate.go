// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// idLen is the length of the CKA_ID of a key pair, that of a SHA-1 based key id,
// which every tool shows well. The last bytes are a check on the others, by which
// this package knows what it has made.
const (
	idLen   = 20
	idCheck = 8
)

// Generate makes a key pair inside the token under a key alias and returns the
// private key. The private key can sign and do nothing else, and can never
// leave the token: the token is asked afterwards, and a key that it describes
// otherwise is destroyed again ([ErrAttributes]). A test signature is made.
//
// An alias that names a private key already is [ErrExists]. A zero typ is an
// error; a type that the token cannot make or sign with is [ErrUnsupported].
// RSA takes some tokens minutes. A context that ends during that time does not
// stop the token.
func (s *Store) Generate(ctx context.Context, alias string, typ KeyType) (_ *Key, err error) {
	defer wrap(&err, "generate key", alias)
	kind, known := keyTypes[typ]
	if !known {
		return nil, fmt.Errorf("unknown key type %d", int(typ))
	}
	if err := s.ready(ctx, alias); err != nil {
		return nil, err
	}
	if !s.device.Mechanisms().Has(kind.pair) {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, kind.pair)
	}
	return s.add(ctx, alias, func(t p11.KeyTemplate) (p11.Key, error) {
		t.Type = kind.device
		return s.device.GenerateKey(ctx, t)
	}, func(a Attributes) []rule { return append(a.confined(), a.signOnly()...) })
}

// ImportInsecure writes a private key that exists outside the token, an
// [*rsa.PrivateKey] or [*ecdsa.PrivateKey], under a key alias. Such a key is
// only as safe as every place it has been in, so this is [ErrExtractable] unless
// AllowInsecureKeys is set, and the key is refused by every Store that does not
// set it. On the token it can only sign. Errors are those of Generate, and
// [ErrWeak].
func (s *Store) ImportInsecure(ctx context.Context, alias string, key crypto.PrivateKey) (_ *Key, err error) {
	defer wrap(&err, "import key", alias)
	if !s.AllowInsecureKeys {
		return nil, fmt.Errorf("%w: it is outside now", ErrExtractable)
	}
	if err := s.ready(ctx, alias); err != nil {
		return nil, err
	}
	if err := checkImport(key, s.device.Mechanisms()); err != nil {
		return nil, err
	}
	return s.add(ctx, alias, func(t p11.KeyTemplate) (p11.Key, error) {
		return s.device.ImportKey(ctx, t, key)
	}, Attributes.signOnly)
}

// checkImport refuses what would fail on the token, or would not be worth it.
func checkImport(key crypto.PrivateKey, have p11.Mechanisms) error {
	var public crypto.PublicKey
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if err := k.Validate(); err != nil {
			return err
		}
		public = k.Public()
	case *ecdsa.PrivateKey:
		public = k.Public()
	default:
		return fmt.Errorf("%w: private key %T", ErrUnsupported, key)
	}
	_, err := schemesFor(public, have)
	return err
}

// add makes a key under a free alias and keeps it only if it is as the rules
// say, is alone under its alias, and signs.
func (s *Store) add(ctx context.Context, alias string, make func(p11.KeyTemplate) (p11.Key, error), rules func(Attributes) []rule) (*Key, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	switch found, err := s.device.Keys(ctx, p11.Filter{Label: alias}); {
	case err != nil:
		return nil, err
	case len(found) > 0:
		return nil, fmt.Errorf("%w by another private key", ErrExists)
	}
	id := newID()
	made, err := make(p11.KeyTemplate{Label: alias, ID: id})
	if err == nil {
		var key *Key
		if key, err = s.accept(ctx, alias, made, rules); err == nil {
			s.clearHalves(ctx, alias)
			return key, nil
		}
	}
	return nil, also(err, s.discard(ctx, id))
}

// discard destroys the key pair with a CKA_ID that was just invented, also when
// ctx has ended. A token may have made a key and failed to say so.
func (s *Store) discard(ctx context.Context, id []byte) error {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	found, err := s.device.Keys(ctx, p11.Filter{ID: id})
	if err != nil {
		return err
	}
	for _, k := range found {
		if err := s.device.Destroy(ctx, k.Objects()...); err != nil {
			return err
		}
	}
	halves, err := s.device.PublicKeys(ctx, p11.Filter{ID: id})
	if err != nil {
		return err
	}
	for _, h := range halves {
		if err := s.device.Destroy(ctx, h.Object); err != nil {
			return err
		}
	}
	return nil
}

// accept looks at a key that was just made.
func (s *Store) accept(ctx context.Context, alias string, made p11.Key, rules func(Attributes) []rule) (*Key, error) {
	if faults := broken(rules(attributesOf(made.Attributes))); faults != "" {
		return nil, fmt.Errorf("%w: %s", ErrAttributes, faults)
	}
	switch found, err := s.device.Keys(ctx, p11.Filter{Label: alias}); {
	case err != nil:
		return nil, err
	case len(found) > 1:
		return nil, fmt.Errorf("%w by a private key made at the same moment", ErrExists)
	case len(found) == 0:
		return nil, fmt.Errorf("%w: the new key is not there", ErrNotStored)
	}
	return s.open(ctx, made, made.Public)
}

func newID() []byte {
	id := make([]byte, idLen-idCheck, idLen)
	rand.Read(id) //nolint:errcheck // never fails, by its documentation
	return append(id, checkOf(id)...)
}

func checkOf(id []byte) []byte {
	sum := sha256.Sum256(append([]byte("hsmtls-key-1:"), id...))
	return sum[:idCheck]
}

// isKeyID reports whether a CKA_ID is one that newID has made.
func isKeyID(id []byte) bool {
	return len(id) == idLen && bytes.Equal(id[idLen-idCheck:], checkOf(id[:idLen-idCheck]))
}
