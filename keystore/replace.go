// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A note is a certificate object with a copy of the certificate that is going
// to replace another. While it is there, of two certificates under the alias
// the one it holds a copy of counts. It has a label of its own, so that no tool
// takes it for either, and is private where the token grants that, so that it cannot
// be removed without the PIN. A public one counts as well: who can write one can also
// take away the certificates it is about, which are public objects.
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
// note.
func (s *Store) noted(ctx context.Context, alias string, candidates []p11.Certificate) (chosen p11.Certificate, ok bool, err error) {
	notes, err := s.device.Certificates(ctx, p11.Filter{ID: noteID(alias)})
	if err != nil {
		return p11.Certificate{}, false, err
	}
	chosen, ok = settles(notes, candidates)
	return chosen, ok, nil
}

// settles returns the certificate that the only note, of which there may be copies,
// says counts. The candidates must be bound to one key: a note can settle no other
// question.
func settles(notes, candidates []p11.Certificate) (chosen p11.Certificate, ok bool) {
	if notes, _ = differing(notes); len(notes) != 1 {
		return p11.Certificate{}, false
	}
	n := 0
	for _, c := range candidates {
		if !bytes.Equal(c.ID, candidates[0].ID) {
			return p11.Certificate{}, false
		}
		if bytes.Equal(c.Value, notes[0].Value) {
			chosen = c
			n++
		}
	}
	return chosen, n == 1
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
	return s.finish(ctx, alias, chain[0])
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
	if len(superseded) > 0 {
		defer s.cache.drop() // though the caller's own chain may be refused
	}
	if err := s.retire(ctx, superseded); err != nil {
		return leaf{}, err
	}
	return l, s.removeNotes(ctx, alias, nil)
}

// finish removes what has lost its purpose with the certificate that was
// replaced. It looks again which one counts, because another process may have
// finished this replacement, or made the next.
func (s *Store) finish(ctx context.Context, alias string, renewed *x509.Certificate) error {
	chosen, superseded, err := s.choose(ctx, alias)
	if err != nil {
		return err
	}
	if holds(chosen, renewed) {
		if err := s.retire(ctx, superseded); err != nil {
			return err
		}
	}
	if err := s.removeNotes(ctx, alias, renewed); err != nil {
		return err
	}
	return s.sweep(ctx)
}

// retire removes certificates that do not count any more, beside one that does.
// While they are there the note has to stay. That one may have been taken back
// meanwhile by the process that wrote it: then the old one is written again.
func (s *Store) retire(ctx context.Context, superseded []p11.Certificate) error {
	for _, c := range superseded {
		if err := s.removeBeside(ctx, c); err != nil {
			return err
		}
	}
	if len(superseded) == 0 {
		return nil
	}
	left, err := s.candidates(ctx, superseded[0].Label)
	if err != nil {
		return err
	}
	for _, c := range left {
		if slices.ContainsFunc(superseded, func(o p11.Certificate) bool { return o.Object == c.Object }) {
			return fmt.Errorf("%w: a certificate that was removed is still there", ErrNotStored)
		}
	}
	return s.restore(ctx, superseded[0])
}

// removeBeside is remove for a certificate that is not the last of its alias. If it
// has gone already, the one that is left may be the same in everything.
func (s *Store) removeBeside(ctx context.Context, c p11.Certificate) error {
	if s.device.Destroy(ctx, c.Object) == nil {
		return nil
	}
	left, err := s.candidates(ctx, c.Label)
	if err != nil || len(left) < 2 {
		return err
	}
	return s.remove(ctx, c)
}

// restore writes a certificate again whose alias leads nowhere any more.
func (s *Store) restore(ctx context.Context, c p11.Certificate) error {
	left, err := s.candidates(ctx, c.Label)
	if err != nil || len(left) > 0 {
		return err
	}
	t := p11.CertificateTemplate{Label: c.Label, ID: c.ID, Value: c.Value, Category: c.Category, Private: c.Private}
	_, err = s.device.CreateCertificate(ctx, t)
	return err
}

// removeNotes removes what says which certificate of an alias counts: the note
// of one certificate, or all if that is nil.
func (s *Store) removeNotes(ctx context.Context, alias string, of *x509.Certificate) error {
	notes, err := s.device.Certificates(ctx, p11.Filter{ID: noteID(alias)})
	if err != nil {
		return err
	}
	for _, n := range notes {
		if of != nil && !holds(n, of) {
			continue
		}
		if err := s.remove(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// supplant makes the alias lead to the new chain, or leaves it as it was. The
// old certificate stays where it is.
func (s *Store) supplant(ctx context.Context, old leaf, key *Key, chain []*x509.Certificate) (err error) {
	d := draft{store: s}
	defer func() {
		if err != nil {
			err = also(err, s.takeBack(ctx, &d, old))
		}
	}()
	if err := s.writeIssuers(ctx, &d, chain[1:]); err != nil {
		return err
	}
	if holds(old.Certificate, chain[0]) {
		if err := d.settle(ctx, chain[0]); err != nil {
			return err
		}
		return s.confirm(ctx, old.Label, chain)
	}
	if err := d.write(ctx, noteTemplate(old.Label, chain[0])); err != nil {
		return err
	}
	if err := d.write(ctx, leafTemplate(old.Label, key, chain[0])); err != nil {
		return err
	}
	if err := d.settle(ctx, chain[0]); err != nil {
		return err
	}
	return s.confirm(ctx, old.Label, chain)
}

// takeBack withdraws a replacement. Another process that has found it finished
// may have removed the old certificate for it.
func (s *Store) takeBack(ctx context.Context, d *draft, old leaf) error {
	if err := d.withdraw(ctx); err != nil {
		return err
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	return s.restore(ctx, old.Certificate)
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
