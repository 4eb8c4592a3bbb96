// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"iter"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/alias"
)

// A Candidate is a certificate to inject, as [Store.Inject] takes it.
type Candidate struct {
	Alias string
	Chain []*x509.Certificate
}

// A Verdict is what became of a [Candidate].
type Verdict struct {
	Candidate
	Entry   Entry // zero if Err is not nil
	Already bool  // it was an entry under this alias before
	Err     error // as [Store.Inject] returns it
}

// injectBatch is how many entries are written before the token is asked for them.
const injectBatch = 256

// InjectAll is [Store.Inject] for many, and promises the same for each. It takes a
// few hundred candidates, writes what they need, asks the token once for all of
// them, and calls report for each, in their order. A candidate that is refused does
// not stop the others. One that is an entry already, under its alias, is only said
// to be: what was interrupted is begun again and goes on.
//
// What the token refuses to write, does not keep, or gives to another process at the
// same moment, is taken back and reported. A process that dies in the middle leaves
// each entry as it was or as it was to be, and perhaps issuers that prove nothing yet.
//
// An error means that the token, or ctx, has ended it. Candidates that were taken
// and not written by then are reported with that error; those not taken are not
// reported. The store must not be used by report.
func (s *Store) InjectAll(ctx context.Context, candidates iter.Seq[Candidate], report func(Verdict)) (err error) {
	defer wrap(&err, "inject", "")
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.refresh(ctx); err != nil {
		return err
	}
	b := &bulk{store: s}
	for c := range candidates {
		err = b.add(ctx, c, report)
		if err == nil && len(b.pending) == injectBatch {
			err = b.flush(ctx, report)
		}
		if err = cmp.Or(err, ctx.Err()); err != nil {
			break
		}
	}
	return cmp.Or(b.flush(ctx, report), err)
}

// A bulk is one InjectAll under way.
type bulk struct {
	store   *Store
	pending []pending
	writer  writer // of issuers
}

// A pending candidate is one whose verdict is open, unless Err is set.
type pending struct {
	Verdict
	settled bool   // whether there is nothing left to write
	writer  writer // of the entry
}

// add decides about a candidate as far as that can be done here. What proves it may
// be among those before it, which are brought to the token then.
func (b *bulk) add(ctx context.Context, c Candidate, report func(Verdict)) (err error) {
	p := pending{Verdict: Verdict{Candidate: c}, writer: writer{store: b.store}}
	p.Entry, p.Err = b.store.admitted(c)
	if p.Err != nil && b.bringsIssuers() {
		err = b.flush(ctx, report)
		if p.Err = err; err == nil {
			p.Entry, p.Err = b.store.admitted(c)
		}
	}
	b.pending = append(b.pending, p)
	return err
}

// bringsIssuers reports whether there will be issuers that the store does not know
// yet.
func (b *bulk) bringsIssuers() bool {
	known := b.store.snapshot().issuers
	isNew := func(c *x509.Certificate) bool {
		return c.IsCA && !slices.ContainsFunc(known[string(c.RawSubject)], c.Equal)
	}
	return slices.ContainsFunc(b.pending, func(p pending) bool {
		return p.Err == nil && (isNew(p.Entry.Certificate) || slices.ContainsFunc(p.Entry.keptIssuers(), isNew))
	})
}

func (s *Store) admitted(c Candidate) (Entry, error) {
	if err := cmp.Or(alias.Check(c.Alias), whole(c.Chain)); err != nil {
		return Entry{}, err
	}
	return s.admit(c.Alias, c.Chain)
}

// flush brings the pending ones to the token and reports them.
func (b *bulk) flush(ctx context.Context, report func(Verdict)) error {
	if len(b.pending) == 0 {
		return nil
	}
	b.writer = writer{store: b.store}
	err := b.write(ctx)
	if err == nil {
		err = b.decide(ctx)
	}
	if err != nil {
		b.abort(ctx, err)
	}
	for _, p := range b.pending {
		if p.Err != nil {
			p.Verdict.Entry, p.Verdict.Already = Entry{}, false
			p.Verdict.Err = &Error{Op: "inject", Alias: p.Alias, Err: p.Err}
		}
		report(p.Verdict)
	}
	b.pending = nil
	return err
}

// abort decides about what was written before the token, or the context, ended it.
// If the token does not say any more, all is taken back, as far as it lets that be.
func (b *bulk) abort(ctx context.Context, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	for i := range b.pending {
		if p := &b.pending[i]; !p.settled {
			p.Err = cmp.Or(p.Err, cause)
		}
	}
	err := b.decide(ctx)
	if err == nil {
		return
	}
	for i := range b.pending {
		p := &b.pending[i]
		p.Err = errors.Join(cmp.Or(p.Err, err), p.writer.takeBack(ctx))
	}
	_ = b.writer.takeBack(ctx) // the token has been said to fail
}

// write writes the issuers that are missing, looks for them, and writes the entries.
func (b *bulk) write(ctx context.Context) error {
	now, err := b.store.survey(ctx)
	if err != nil {
		return err
	}
	if err := b.consult(ctx); err != nil {
		return err
	}
	there := indexOf(now.certificates)
	b.claim(there)
	if there, err = b.keepIssuers(ctx, there); err != nil {
		return err
	}
	for i := range b.pending {
		p := &b.pending[i]
		if p.settled || p.Err != nil {
			continue
		}
		if len(there.missing(p.Entry)) > 0 {
			p.Err = ErrNotStored
		} else if p.Err = p.write(ctx); p.Err != nil {
			return p.Err
		}
		p.settled = true
	}
	return nil
}

// consult refuses what CRLs revoke that nobody could verify before.
func (b *bulk) consult(ctx context.Context) error {
	var entries []Entry
	for _, p := range b.pending {
		if p.Err == nil {
			entries = append(entries, p.Entry)
		}
	}
	now, err := b.store.consult(ctx, entries...)
	if err != nil {
		return err
	}
	for i := range b.pending {
		if p := &b.pending[i]; p.Err == nil {
			p.Entry, p.Err = now.standing(p.Entry, now.revocations, p.Chain, b.store.now())
		}
	}
	return nil
}

// write writes one entry, whose issuers are there.
func (p *pending) write(ctx context.Context) error {
	if err := p.writer.create(ctx, p.Entry.template()); err != nil {
		return err
	}
	return p.writer.settle(ctx, p.Entry.Certificate)
}

// claim settles for which candidates there is nothing to write: the entry is there,
// or cannot be, or another candidate has its name.
func (b *bulk) claim(there index) {
	taken := indexOf(nil)
	for i := range b.pending {
		p := &b.pending[i]
		if p.Err != nil {
			continue
		}
		if p.Err = cmp.Or(there.unclaimed(p.Entry), taken.unclaimed(p.Entry)); p.Err != nil {
			continue
		}
		t := p.Entry.template()
		_, before := there.find(t)
		_, twice := taken.find(t)
		p.settled = before || twice
		p.Already = p.settled && len(there.missing(p.Entry)) == 0
		taken.expect(t)
	}
}

// keepIssuers writes the issuers that are missing, and returns what is there then.
func (b *bulk) keepIssuers(ctx context.Context, there index) (index, error) {
	for _, p := range b.pending {
		if p.Err != nil {
			continue
		}
		for _, t := range there.missing(p.Entry) {
			if err := b.writer.create(ctx, t); err != nil {
				return there, err
			}
			there.expect(t)
		}
	}
	if len(b.writer.written) == 0 {
		return there, nil
	}
	if err := b.writer.settle(ctx, b.writer.longest()); err != nil {
		return there, err
	}
	now, err := b.store.survey(ctx)
	return indexOf(now.certificates), err
}

// longest returns the longest certificate that was written.
func (w *writer) longest() *x509.Certificate {
	return slices.MaxFunc(w.written, func(a, b found) int { return cmp.Compare(len(a.Value), len(b.Value)) }).cert
}

func sumOf(c *x509.Certificate) fingerprint { return sha256.Sum256(c.Raw) }
