// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// An index finds certificate objects by what an entry claims: its alias and its
// certificate.
type index struct {
	byLabel map[string][]found
	bySum   map[fingerprint][]found
}

func indexOf(objects []found) index {
	x := index{byLabel: make(map[string][]found, len(objects)), bySum: make(map[fingerprint][]found, len(objects))}
	for _, o := range objects {
		x.add(o)
	}
	return x
}

func (x index) add(o found) {
	x.byLabel[o.Label] = append(x.byLabel[o.Label], o)
	x.bySum[o.sum] = append(x.bySum[o.sum], o)
}

// expect adds what is going to be there.
func (x index) expect(t p11.CertificateTemplate) {
	x.add(parse(p11.Certificate{Label: t.Label, ID: t.ID, Value: t.Value}))
}

// look asks the token for everything that an entry may be in conflict with and that
// it needs. Where handles are kept, all objects are listed and only new ones are
// read: that costs such a token less than one question for one of them. Another
// token is asked for the alias, the certificate and each issuer.
func (s *Store) look(ctx context.Context, e Entry) (index, error) {
	if s.device.KeepsHandles() {
		now, err := s.survey(ctx)
		return indexOf(now.certificates), err
	}
	questions := []p11.Filter{{Label: e.Alias}, {ID: e.template().ID}}
	for _, t := range e.issuerTemplates() {
		questions = append(questions, p11.Filter{ID: t.ID})
	}
	x := indexOf(nil)
	for _, q := range questions {
		objects, err := s.device.Certificates(ctx, q)
		if err != nil {
			return x, err
		}
		for _, o := range objects {
			x.add(parse(o))
		}
	}
	return x, nil
}

// find returns an object that is what a template asks for.
func (x index) find(t p11.CertificateTemplate) (found, bool) {
	for _, o := range x.byLabel[t.Label] {
		if is(o.Certificate, t) {
			return o, true
		}
	}
	return found{}, false
}

// unclaimed reports whether no other object has the alias of e, and no other
// entry its certificate.
func (x index) unclaimed(e Entry) error {
	want := e.template()
	for _, o := range x.byLabel[want.Label] {
		if !is(o.Certificate, want) {
			return fmt.Errorf("alias is %w", ErrExists)
		}
	}
	for _, o := range x.bySum[sumOf(e.Certificate)] {
		if bytes.Equal(o.ID, want.ID) && !alias.IsTrustIssuerLabel(o.Label) && !is(o.Certificate, want) {
			return fmt.Errorf("certificate is %w as %q", ErrExists, o.Label)
		}
	}
	return nil
}

// missing returns the issuers of e that are not there.
func (x index) missing(e Entry) (templates []p11.CertificateTemplate) {
	for _, t := range e.issuerTemplates() {
		if _, ok := x.find(t); !ok {
			templates = append(templates, t)
		}
	}
	return templates
}

// kept returns e as the token has it. Another process may have had the same idea
// meanwhile, or have removed an issuer for which there was no need yet.
func (x index) kept(e Entry) (Entry, error) {
	o, ok := x.find(e.template())
	if !ok {
		return Entry{}, ErrNotStored
	}
	if err := x.unclaimed(e); err != nil {
		return Entry{}, err
	}
	for _, t := range x.missing(e) {
		return Entry{}, fmt.Errorf("%w: %q", ErrNotStored, t.Label)
	}
	e.Private = o.Private
	return e, nil
}
