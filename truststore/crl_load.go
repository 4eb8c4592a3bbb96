// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// What [CRL].Err says of a CRL.
var (
	// ErrVanished is about a CRL, or a record of the deny-list, that the token
	// does not show any more, though nobody has removed it. It goes on to be used
	// until the store is closed.
	ErrVanished = errors.New("has vanished from the token and is used as it was")

	// ErrOlder is returned by [Store.InjectCRL] for a CRL whose number is lower
	// than that of one that has been in the store, or the same with another
	// content.
	ErrOlder = errors.New("CRL number is not higher than that of the CRL in the store")
)

// A crlObject is a CRL with the object that holds it.
type crlObject struct {
	*revocationList
	object p11.Object
}

// read is what the data objects of a token say.
type read struct {
	*revocations
	objects  []crlObject  // the verified CRLs, old ones too
	stale    []p11.Object // records that newer ones have taken the place of
	rejected []Rejected
}

// data reads the data objects of this module: CRLs, records, endorsements.
func (s *Store) data(ctx context.Context) ([]p11.Data, error) {
	return s.device.Data(ctx, p11.DataFilter{Application: alias.Application})
}

// dataIn is data without a search of its own. If something has gone meanwhile, another
// may have come in its place: then the token is asked again.
func (s *Store) dataIn(ctx context.Context, now *p11.Inventory) ([]p11.Data, error) {
	if now == nil {
		return s.data(ctx)
	}
	listed := now.Of(p11.ClassData)
	data, err := s.device.ReadData(ctx, listed)
	if errors.Is(err, p11.ErrStale) || err == nil && len(data) < len(listed) {
		return s.data(ctx)
	}
	foreign := func(d p11.Data) bool { return d.Application != alias.Application }
	return slices.DeleteFunc(data, foreign), err
}

// readRevocations reads the CRLs and the deny-list from the token.
func (s *Store) readRevocations(ctx context.Context, next *snapshot) (*read, error) {
	data, err := s.data(ctx)
	if err != nil {
		return nil, err
	}
	return s.revocationsIn(data, next), nil
}

// revocationsIn finds the CRLs and the deny-list among data objects. Every CRL is
// verified against the issuers of next. What has been known and is gone without a
// record that somebody has removed it, stays.
func (s *Store) revocationsIn(data []p11.Data, next *snapshot) *read {
	last := s.snapshot().revocations
	r := &read{revocations: &revocations{
		policy: s.policy, lists: map[issuerID]*revocationList{}, missing: map[issuerID]crlMark{},
		denied: map[[sha256.Size]byte]*Denial{}, signed: map[[sha256.Size]byte]*Denial{},
		records: map[[sha256.Size]byte]denyRecord{}, marks: map[issuerID]crlMark{},
	}}
	for _, d := range data {
		if err := r.sort(d, func(der []byte) (*revocationList, error) { return next.readCRL(der, last, s.now()) }); err != nil {
			r.rejected = append(r.rejected, Rejected{Label: d.Label, Err: err})
		}
	}
	r.dropEarly(last, s.now())
	r.choose()
	r.remember(last)
	r.miss()
	r.deny()
	return r
}

// sort puts one object where it belongs. Others of this application are not for
// this package.
func (r *read) sort(d p11.Data, verify func(der []byte) (*revocationList, error)) error {
	switch {
	case alias.IsCRLMarkLabel(d.Label):
		m, err := readMark(d)
		if err != nil {
			return err
		}
		r.note(m)
	case alias.IsCRLLabel(d.Label):
		l, err := verify(d.Value)
		if err != nil {
			return err
		}
		r.objects = append(r.objects, crlObject{l.withState(d.Private, false), d.Object})
	case alias.IsDenyLabel(d.Label):
		n, err := readDenial(d)
		if err != nil {
			return err
		}
		r.record(n)
	}
	return nil
}

// note keeps the newest mark of an issuer.
func (r *read) note(m crlMark) {
	old, known := r.marks[m.id]
	switch {
	case !known:
		r.marks[m.id] = m
	case m.newer(old):
		r.marks[m.id], r.stale = m, append(r.stale, old.object)
	default:
		r.stale = append(r.stale, m.object)
	}
}

// record keeps the newest record of a certificate.
func (r *read) record(n denyRecord) {
	old, known := r.records[n.fingerprint]
	switch {
	case !known:
		r.records[n.fingerprint] = n
	case n.newer(old):
		r.records[n.fingerprint], r.stale = n, append(r.stale, old.object)
	default:
		r.stale = append(r.stale, n.object)
	}
}

// dropEarly rejects CRLs that are from the future, unless they are known, or the
// record says that one as new has been in the store: then it is the clock that is
// wrong, and what is revoked stays so.
func (r *read) dropEarly(last *revocations, at time.Time) {
	r.objects = slices.DeleteFunc(r.objects, func(o crlObject) bool {
		m, recorded := r.marks[o.id]
		err := o.early(at)
		if err == nil || last.byDigest(o.digest) != nil || recorded && o.number.Cmp(m.number) <= 0 {
			return false
		}
		r.rejected = append(r.rejected, Rejected{Label: alias.CRLLabel(o.id[:]), Err: err})
		return true
	})
}

// choose takes the newest CRL of each issuer, unless it has been removed.
func (r *read) choose() {
	for _, o := range r.objects {
		if m, ok := r.marks[o.id]; ok && m.removed && o.number.Cmp(m.number) <= 0 {
			continue
		}
		if o.newer(r.lists[o.id]) || o.private && o.digest == r.lists[o.id].digest {
			r.lists[o.id] = o.revocationList
		}
	}
}

// remember keeps what last has known, unless something newer is there.
func (r *read) remember(last *revocations) {
	if last == nil {
		return
	}
	for id, l := range last.lists {
		if m, ok := r.marks[id]; ok && m.removed && l.number.Cmp(m.number) <= 0 {
			continue
		}
		if r.lists[id] == nil || l.newer(r.lists[id]) {
			r.lists[id] = l.withState(l.private, true)
		}
	}
	for id, m := range last.marks {
		if now, ok := r.marks[id]; !ok || m.sequence > now.sequence {
			m.lost = true
			r.marks[id] = m
		}
	}
	for sum, n := range last.records {
		if now, ok := r.records[sum]; !ok || n.Sequence > now.Sequence {
			n.lost = true
			r.records[sum] = n
		}
	}
}

// miss finds the issuers whose CRL should be there.
func (r *read) miss() {
	for id, m := range r.marks {
		if l := r.lists[id]; !m.removed && (l == nil || l.number.Cmp(m.number) < 0) {
			r.missing[id] = m
		}
	}
}

// deny makes the deny-list of the records.
func (r *read) deny() {
	for sum, n := range r.records {
		if n.Allowed {
			continue
		}
		d := n.denial()
		r.denied[sum] = d
		if signed, ok := n.signedSum(); ok {
			r.signed[signed] = d
		}
	}
}

// with returns what there is and a further CRL. r is not used afterwards.
func (r *read) with(l *revocationList) *revocations {
	r.lists[l.id] = l
	if m, ok := r.missing[l.id]; ok && m.number.Cmp(l.number) <= 0 {
		delete(r.missing, l.id)
	}
	return r.revocations
}

// without returns r without the CRL of an issuer.
func (r *revocations) without(id issuerID) *revocations {
	less := *r
	less.lists, less.marks, less.missing = maps.Clone(r.lists), maps.Clone(r.marks), maps.Clone(r.missing)
	delete(less.lists, id)
	delete(less.marks, id)
	delete(less.missing, id)
	return &less
}

// highest returns the highest number a CRL of an issuer has had, or nil.
func (r *revocations) highest(id issuerID) *big.Int {
	var number *big.Int
	if l := r.lists[id]; l != nil {
		number = l.number
	}
	if m, ok := r.marks[id]; ok && (number == nil || m.number.Cmp(number) > 0) {
		number = m.number
	}
	return number
}

func sortCRLs(all []CRL) {
	slices.SortFunc(all, func(a, b CRL) int { return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.ID, b.ID)) })
}
