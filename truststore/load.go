// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A sieve sorts the objects of a token.
type sieve struct {
	candidates []found
	kept       []*x509.Certificate
	unproved   []unproved
	rejected   []Rejected
}

// An unproved candidate is one that no anchor vouches for, with the reason. It may
// be endorsed.
type unproved struct {
	found
	refusal error
}

// load decides about the objects of the token. Being on it proves nothing, so every
// object is looked at as if it had just come in.
func (s *Store) load(ctx context.Context, now survey, data []p11.Data) (*snapshot, error) {
	keys, err := s.keyIDs(ctx, now)
	if err != nil {
		return nil, err
	}
	var v sieve
	for _, o := range now.certificates {
		v.sort(o, keys)
	}
	from, err := s.vouchers(ctx, &v, now.certificates)
	if err != nil {
		return nil, err
	}
	proved := s.prove(&v, from, s.now())
	proved = append(proved, s.proveEndorsed(&v, data, from)...)
	entries := v.settle(proved)
	return newSnapshot(from, entries, v.kept, v.rejected), nil
}

// keyIDs returns the ids of the private keys, unless all certificates are this
// module's and nobody needs them.
func (s *Store) keyIDs(ctx context.Context, now survey) (map[string]bool, error) {
	ids := map[string]bool{}
	if !slices.ContainsFunc(now.certificates, func(o found) bool { return !alias.IsOwnID(o.ID) }) {
		return ids, nil
	}
	if now.inventory != nil {
		listed, err := s.device.KeyIDs(ctx, now.inventory.Of(p11.ClassPrivateKey))
		for _, id := range listed {
			ids[string(id)] = true
		}
		if !errors.Is(err, p11.ErrStale) {
			return ids, err
		}
	}
	keys, err := s.device.Keys(ctx, p11.Filter{})
	for _, k := range keys {
		ids[string(k.ID)] = true
	}
	return ids, err
}

// sort puts one object where it belongs by its marks.
func (v *sieve) sort(f found, keys map[string]bool) {
	switch {
	case !alias.IsTrustID(f.ID):
		if !alias.IsOwnID(f.ID) && (len(f.ID) == 0 || !keys[string(f.ID)]) {
			v.reject(f, ErrForeign)
		}
	case f.err != nil:
		v.reject(f, f.err)
	case !f.marked:
		v.reject(f, ErrMarked)
	case alias.IsTrustIssuerLabel(f.Label) && f.Label == alias.TrustIssuerLabel(f.cert.Raw):
		v.kept = append(v.kept, f.cert)
	default:
		if err := alias.Check(f.Label); err != nil {
			v.reject(f, err)
			return
		}
		v.candidates = append(v.candidates, f)
	}
}

func (v *sieve) reject(f found, err error) {
	v.rejected = append(v.rejected, Rejected{Label: f.Label, ID: f.ID, Certificate: f.cert, Err: err})
}

// proof looks for a chain from c to an anchor and returns c as an entry.
func proof(c *x509.Certificate, between *x509.CertPool, from *anchors, at time.Time) (Entry, error) {
	if err := checkEntry(c); err != nil {
		return Entry{}, err
	}
	q := question{usage: x509.ExtKeyUsageAny, at: at}
	paths, err := q.paths(c, between, from.pool)
	if err != nil {
		return Entry{}, err
	}
	return chosen(c, paths, from)
}

// chosen makes an entry of c with the first of its paths that is good.
func chosen(c *x509.Certificate, paths [][]*x509.Certificate, from *anchors) (Entry, error) {
	var refusal error
	for _, path := range paths {
		err := cmp.Or(checkPath(path), from.vouch(path))
		usages := usagesOf(path)
		if err == nil && len(usages) > 0 {
			return Entry{Certificate: c, Issuers: path[1:], Usages: usages}, nil
		}
		refusal = cmp.Or(refusal, err)
	}
	misused := x509.CertificateInvalidError{Cert: c, Reason: x509.IncompatibleUsage}
	return Entry{}, cmp.Or(refusal, error(&RejectedError{c, misused}))
}

// checkEntry checks a certificate as what it would be trusted for.
func checkEntry(c *x509.Certificate) error {
	if c.IsCA {
		return check(c, authority)
	}
	return check(c, leaf)
}
