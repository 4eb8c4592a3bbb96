// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A LeftoverKind says what a [Leftover] was for. The zero kind is none.
type LeftoverKind int

// The kinds of leftovers, in the order in which Clean removes them.
const (
	// LeftoverCertificate is the old certificate of a replacement that has come
	// as far as the new one: a note on the token says which of the two counts.
	LeftoverCertificate LeftoverKind = iota + 1

	// LeftoverNote is a note which certificate is going to count, of a
	// replacement that is over, or has not come as far as the new one.
	LeftoverNote

	// LeftoverIssuer is a certificate that was kept for chains and is in none.
	LeftoverIssuer

	// LeftoverPublicKey is the public half of a key pair whose private half is
	// not there: not yet made, or destroyed already.
	LeftoverPublicKey
)

var leftoverKinds = map[LeftoverKind]string{
	LeftoverCertificate: "replaced certificate",
	LeftoverNote:        "note of a replacement",
	LeftoverIssuer:      "unused issuer",
	LeftoverPublicKey:   "public key without its private key",
}

// String describes the kind.
func (k LeftoverKind) String() string {
	if s, ok := leftoverKinds[k]; ok {
		return s
	}
	return fmt.Sprintf("LeftoverKind(%d)", int(k))
}

// A Leftover is an object on the token that a write has left there which was cut
// short, by kill -9 for instance. It changes nothing of what is found under any
// alias.
type Leftover struct {
	Kind  LeftoverKind
	Label string // CKA_LABEL
	ID    []byte // CKA_ID

	object  p11.Object
	content []byte // of a certificate
}

// Leftovers returns what interrupted writes have left on the token. While
// another process is writing, its work looks the same. Only objects are listed
// that carry a mark of this package and that nothing needs. It reads every
// certificate and key of the token.
func (s *Store) Leftovers(ctx context.Context) (_ []Leftover, err error) {
	defer wrap(&err, "list leftovers", "")
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return s.leftovers(ctx)
}

// Clean removes what Leftovers lists, and returns it. No other process should
// be writing meanwhile: an Inject or Replace that is under way there may fail,
// and a key pair that is being made may lose its public half. Cleaning twice is
// no error. [ErrNotStored] means that the token still shows what it has removed.
// After another error some leftovers may have been removed, and others not.
//
// It is seldom needed: Replace and DeleteCertificate remove what is left of
// their alias, and unused issuers; Generate removes halves of its alias.
func (s *Store) Clean(ctx context.Context) (_ []Leftover, err error) {
	defer wrap(&err, "clean", "")
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	defer s.cache.drop()
	found, err := s.leftovers(ctx)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	for _, l := range found {
		if err := s.removeLeftover(ctx, l); err != nil {
			return nil, fmt.Errorf("%v %q: %w", l.Kind, l.Label, err)
		}
	}
	if err := s.giveBack(ctx, asCertificates(found)); err != nil {
		return nil, err
	}
	return found, s.cleaned(ctx, found)
}

// cleaned fails if the token still has what was removed.
func (s *Store) cleaned(ctx context.Context, removed []Leftover) error {
	left, err := s.leftovers(ctx)
	if err != nil {
		return err
	}
	for _, l := range left {
		if slices.ContainsFunc(removed, func(r Leftover) bool { return r.object == l.object }) {
			return fmt.Errorf("%w: %v %q is still there", ErrNotStored, l.Kind, l.Label)
		}
	}
	return nil
}

func (s *Store) removeLeftover(ctx context.Context, l Leftover) error {
	switch l.Kind {
	case LeftoverPublicKey:
		return s.device.Destroy(ctx, l.object)
	case LeftoverCertificate:
		return s.retire(ctx, asCertificates([]Leftover{l}))
	default:
		return s.remove(ctx, asCertificates([]Leftover{l})[0])
	}
}

func asCertificates(leftovers []Leftover) (objects []p11.Certificate) {
	for _, l := range leftovers {
		if l.Kind != LeftoverPublicKey {
			objects = append(objects, p11.Certificate{Object: l.object, Label: l.Label, ID: l.ID, Value: l.content})
		}
	}
	return objects
}

// leftovers lists what Clean removes, in that order. Keys are read after public
// keys, so that a pair that has just been made is whole.
func (s *Store) leftovers(ctx context.Context) ([]Leftover, error) {
	public, err := s.device.PublicKeys(ctx, p11.Filter{})
	if err != nil {
		return nil, err
	}
	objects, err := s.device.Certificates(ctx, p11.Filter{})
	if err != nil {
		return nil, err
	}
	keys, err := s.device.Keys(ctx, p11.Filter{})
	if err != nil {
		return nil, err
	}
	superseded, notes := interrupted(objects)
	stay := slices.DeleteFunc(slices.Clone(objects), func(c p11.Certificate) bool {
		is := func(o p11.Certificate) bool { return o.Object == c.Object }
		return slices.ContainsFunc(superseded, is) || slices.ContainsFunc(notes, is)
	})
	found := leftoversOf(LeftoverCertificate, superseded)
	found = append(found, leftoversOf(LeftoverNote, notes)...)
	found = append(found, leftoversOf(LeftoverIssuer, unneeded(stay))...)
	for _, h := range halves(public, keys, stay) {
		found = append(found, Leftover{Kind: LeftoverPublicKey, Label: h.Label, ID: h.ID, object: h.Object})
	}
	return found, nil
}

func leftoversOf(kind LeftoverKind, objects []p11.Certificate) (found []Leftover) {
	for _, o := range objects {
		found = append(found, Leftover{Kind: kind, Label: o.Label, ID: o.ID, object: o.Object, content: o.Value})
	}
	return found
}

// interrupted returns what replacements that were cut short, or were done by two at
// once, have left. Where a
// note does not settle which of several certificates counts, nothing is listed:
// that is for a person to decide.
func interrupted(objects []p11.Certificate) (superseded, notes []p11.Certificate) {
	single, copies := differing(objects)
	for _, note := range single {
		if !isNoteID(note.ID) {
			continue
		}
		contenders, rivals := contend(objects, note.ID)
		distinct, _ := differing(contenders)
		chosen, settled := settles(rivals, distinct)
		switch {
		case len(distinct) < 2:
			notes = append(notes, note)
		case settled:
			notes = append(notes, note)
			superseded = append(superseded, allBut(chosen, distinct)...)
		}
	}
	for _, c := range copies {
		switch {
		case isKeyID(c.ID): // those of keys of this package
			superseded = append(superseded, c)
		case isNoteID(c.ID):
			notes = append(notes, c)
		}
	}
	return superseded, notes
}

// contend returns the certificates that may have the alias of a note, and the
// notes about it.
func contend(objects []p11.Certificate, id []byte) (certificates, notes []p11.Certificate) {
	for _, o := range objects {
		switch {
		case bytes.Equal(o.ID, id):
			notes = append(notes, o)
		case !setAside(o) && bytes.Equal(noteID(o.Label), id):
			certificates = append(certificates, o)
		}
	}
	return certificates, notes
}

// halves returns the public keys of this package without a private key. One
// whose key a certificate on the token names is kept.
func halves(public []p11.PublicKey, keys []p11.Key, certificates []p11.Certificate) []p11.PublicKey {
	used := map[string]bool{}
	for _, k := range keys {
		used[string(k.ID)] = true
	}
	for _, c := range certificates {
		used[string(c.ID)] = true
	}
	return slices.DeleteFunc(slices.Clone(public), func(p p11.PublicKey) bool { return !isKeyID(p.ID) || used[string(p.ID)] })
}

// clearHalves removes the public halves of earlier keys of an alias. Another
// process that is making a pair of that alias now will find that it is taken.
// What cannot be removed stays for Clean.
func (s *Store) clearHalves(ctx context.Context, alias string) {
	public, err := s.device.PublicKeys(ctx, p11.Filter{Label: alias})
	if err != nil || len(public) < 2 {
		return
	}
	for _, p := range public {
		keys, err := s.device.Keys(ctx, p11.Filter{ID: p.ID})
		if err != nil || len(keys) > 0 || !isKeyID(p.ID) {
			continue
		}
		if users, err := s.device.Certificates(ctx, p11.Filter{ID: p.ID}); err == nil && len(users) == 0 {
			_ = s.device.Destroy(ctx, p.Object)
		}
	}
}
