// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"context"
	"crypto/x509"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// judge applies what the token says is revoked to what has been loaded.
func (s *Store) judge(ctx context.Context, next *snapshot, data []p11.Data) *snapshot {
	found := s.revocationsIn(data, next)
	next.rejected = slices.Concat(next.rejected, found.rejected)
	next = next.revoking(found.revocations, s.now())
	for _, c := range next.revocations.report(s.now()) {
		if c.Err != nil {
			s.log.WarnContext(ctx, "CRL", "issuer", c.Issuer, "id", c.ID, "problem", c.Err)
		}
	}
	return next
}

// revoking returns a snapshot without the entries that are revoked, which are
// rejected instead. A CA among them stays known, to build paths and to find out
// who has signed a CRL; that is no trust.
func (s *snapshot) revoking(r *revocations, at time.Time) *snapshot {
	entries, rejected := make([]Entry, 0, len(s.entries)), slices.Clip(s.rejected)
	kept, changed := slices.Clip(s.kept), false
	for _, e := range s.entries {
		standing, err := s.standing(e, r, []*x509.Certificate{e.Certificate}, at)
		changed = changed || err != nil || !slices.EqualFunc(standing.Issuers, e.Issuers, (*x509.Certificate).Equal)
		if err == nil {
			entries = append(entries, standing)
			continue
		}
		rejected = append(rejected, Rejected{e.Alias, alias.TrustID(e.Certificate.Raw), e.Certificate, err})
		if e.Certificate.IsCA {
			kept = append(kept, e.Certificate)
		}
	}
	next := *s
	if changed {
		next = *newSnapshot(s.anchors, entries, kept, rejected)
		next.generation = s.generation
	}
	next.revocations = r
	return &next
}

// consult reads the CRLs again that could not be verified for want of their issuer,
// if there are any: those who prove one of these entries may have issued them. It
// returns what is revoked then, and the snapshot without what that concerns.
func (s *Store) consult(ctx context.Context, entries ...Entry) (*snapshot, error) {
	now := s.snapshot()
	if !slices.ContainsFunc(now.rejected, func(r Rejected) bool { return alias.IsCRLLabel(r.Label) }) {
		return now, nil
	}
	knowing := newSnapshot(now.anchors, slices.Concat(now.entries, entries), now.kept, nil)
	found, err := s.readRevocations(ctx, knowing)
	if err != nil {
		return nil, err
	}
	return now.revoking(found.revocations, s.now()), nil
}

// stand consults what is revoked about one entry.
func (s *Store) stand(ctx context.Context, e Entry, chain []*x509.Certificate) (*snapshot, Entry, error) {
	now, err := s.consult(ctx, e)
	if err == nil {
		e, err = now.standing(e, now.revocations, chain, s.now())
	}
	return now, e, err
}

// standing returns e as long as nothing on its path is revoked, or e as another
// path proves it. Chain is what may be on that path beside the issuers known here.
func (s *snapshot) standing(e Entry, r *revocations, chain []*x509.Certificate, at time.Time) (Entry, error) {
	refusal := r.checkEntry(e, at)
	if refusal == nil || len(e.Endorsers) > 0 {
		return e, refusal
	}
	q := question{usage: x509.ExtKeyUsageAny, at: at}
	paths, err := q.paths(e.Certificate, s.issuers.above(chain), s.anchors.pool)
	if err != nil {
		return Entry{}, refusal
	}
	for _, path := range paths {
		usages := usagesOf(path)
		if cmp.Or(checkPath(path), s.anchors.vouch(path), r.check(path, at)) == nil && len(usages) > 0 {
			e.Issuers, e.Usages = path[1:], usages
			return e, nil
		}
	}
	return Entry{}, refusal
}

// checkEntry is check for what proves an entry.
func (r *revocations) checkEntry(e Entry, at time.Time) error {
	if err := r.check(pathOf(e), at); err != nil {
		return err
	}
	return r.check(e.Endorsers, at)
}

func pathOf(e Entry) []*x509.Certificate {
	return append([]*x509.Certificate{e.Certificate}, e.Issuers...)
}
