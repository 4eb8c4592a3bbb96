// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A note is a certificate object with a copy of the certificate that is going
// to replace another. While it is there, of two certificates under the alias
// the one it holds a copy of counts. It has a label of its own, so that no tool
// takes it for either, and is private, so that it cannot be planted without the
// PIN where the token grants that.
const (
	noteIDMark = "hsmtls-next-1:" // followed by the SHA-256 of the alias
	noteLabel  = "replacement of "
)

func noteID(alias string) []byte {
	sum := sha256.Sum256([]byte(alias))
	return append([]byte(noteIDMark), sum[:]...)
}

func isNoteID(id []byte) bool { return bytes.HasPrefix(id, []byte(noteIDMark)) }

// noted returns that one of several candidates for an alias of which there is a
// note. They must be bound to one key: a note can settle no other question.
func (s *Store) noted(ctx context.Context, alias string, candidates []p11.Certificate) (chosen p11.Certificate, ok bool, err error) {
	notes, err := s.device.Certificates(ctx, p11.Filter{ID: noteID(alias)})
	if err != nil || len(notes) != 1 {
		return p11.Certificate{}, false, err
	}
	n := 0
	for _, c := range candidates {
		if !bytes.Equal(c.ID, candidates[0].ID) {
			return p11.Certificate{}, false, nil
		}
		if bytes.Equal(c.Value, notes[0].Value) {
			chosen = c
			n++
		}
	}
	return chosen, n == 1, nil
}

// Replace gives an identity another chain, with the same private key. The
// conditions are those of Inject; [ErrNotFound] means that there is no such
// identity. Replacing a chain by itself changes nothing and is no error.
//
// Whoever resolves the alias meanwhile, in this process or another, gets the
// old certificate or the new one. The order is: new issuers; a note which
// certificate is going to count; the new certificate, beside the old one and
// under the same label, from which moment it counts; then the old certificate,
// the note, and issuers that nothing needs any more are removed. Other tools see
// two certificates under one label for that moment. A failure up to the moment
// from which the new certificate counts is undone. After it, an error means that
// something superfluous could not be removed; calling Replace again finishes the
// work, as it does after a process died in the middle.
func (s *Store) Replace(ctx context.Context, alias string, chain []*x509.Certificate) (err error) {
	defer wrap(&err, "replace", alias)
	if err := s.ready(ctx, alias); err != nil {
		return err
	}
	checkFirst := checkLeaf
	if len(chain) > 0 && chain[0] != nil && chain[0].IsCA {
		checkFirst = checkAuthority
	}
	if err := checkChainOf(chain, s.now(), checkFirst); err != nil {
		return err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	old, err := s.settle(ctx, alias)
	if err != nil {
		return err
	}
	if old.cert.IsCA != chain[0].IsCA {
		return &ChainError{chain[0], fmt.Errorf("%w: a CA and a party of TLS do not replace each other", ErrChain)}
	}
	key, err := s.keyFor(ctx, old)
	if err != nil {
		return err
	}
	if !samePublic(chain[0].PublicKey, key.Public()) {
		return fmt.Errorf("%w: the new certificate is not of key %q", ErrMismatch, key.info.Alias)
	}
	defer s.cache.drop()
	if err := s.supplant(ctx, old, key, chain); err != nil {
		return err
	}
	if !holds(old.Certificate, chain[0]) {
		if err := s.device.Destroy(ctx, old.Object); err != nil {
			return err
		}
	}
	return s.tidy(ctx, alias)
}

// settle resolves an alias and finishes a replacement that was interrupted.
func (s *Store) settle(ctx context.Context, alias string) (leaf, error) {
	object, superseded, err := s.choose(ctx, alias)
	if err != nil {
		return leaf{}, err
	}
	l, err := parseLeaf(object)
	if err != nil {
		return leaf{}, err
	}
	if err := s.device.Destroy(ctx, superseded...); err != nil {
		return leaf{}, err
	}
	return l, s.removeNotes(ctx, alias)
}

// tidy removes what has lost its purpose with the old certificate.
func (s *Store) tidy(ctx context.Context, alias string) error {
	if err := s.removeNotes(ctx, alias); err != nil {
		return err
	}
	return s.sweep(ctx)
}

// removeNotes removes what says which certificate of an alias counts.
func (s *Store) removeNotes(ctx context.Context, alias string) error {
	notes, err := s.device.Certificates(ctx, p11.Filter{ID: noteID(alias)})
	if err != nil {
		return err
	}
	for _, n := range notes {
		if err := s.device.Destroy(ctx, n.Object); err != nil {
			return err
		}
	}
	return nil
}

// supplant makes the alias lead to the new chain, or leaves it as it was. The
// old certificate stays where it is.
func (s *Store) supplant(ctx context.Context, old leaf, key *Key, chain []*x509.Certificate) (err error) {
	d := draft{device: s.device}
	defer func() {
		if err != nil {
			err = also(err, d.withdraw(ctx))
		}
	}()
	if err := s.writeIssuers(ctx, &d, chain[1:]); err != nil {
		return err
	}
	if holds(old.Certificate, chain[0]) {
		return s.confirm(ctx, old.Label, chain)
	}
	if err := d.write(ctx, noteTemplate(old.Label, chain[0])); err != nil {
		return err
	}
	if err := d.write(ctx, leafTemplate(old.Label, key, chain[0])); err != nil {
		return err
	}
	return s.confirm(ctx, old.Label, chain)
}

func noteTemplate(alias string, cert *x509.Certificate) p11.CertificateTemplate {
	return p11.CertificateTemplate{
		Label:    noteLabel + alias,
		ID:       noteID(alias),
		Value:    cert.Raw,
		Category: p11.CategoryOther,
		Private:  true,
	}
}
