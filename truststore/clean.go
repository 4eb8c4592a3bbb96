// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A Leftover is an issuer on the token that proves no entry and has no CRL there. A
// write that was cut short, by kill -9 for instance, has left it there. It is trusted
// for nothing.
type Leftover struct {
	Label       string
	ID          []byte
	Certificate *x509.Certificate

	object p11.Object
}

// Leftovers returns what interrupted writes have left on the token: issuers that
// carry the mark of this package and that no entry names, trusted or rejected, and no
// CRL that this store has read.
// While another process is injecting, its work looks the same. It reads the
// token, and does not publish anything.
func (s *Store) Leftovers(ctx context.Context) (_ []Leftover, err error) {
	defer wrap(&err, "list leftovers", "")
	s.writing.Lock()
	defer s.writing.Unlock()
	now, err := s.surveyOpen(ctx)
	return s.leftovers(now.certificates), err
}

// surveyOpen is survey for a store that may not have been opened.
func (s *Store) surveyOpen(ctx context.Context) (survey, error) {
	if s.device == nil {
		return survey{}, p11.ErrClosed
	}
	return s.survey(ctx)
}

func (s *Store) leftovers(objects []found) (left []Leftover) {
	for _, o := range s.unneeded(objects) {
		left = append(left, Leftover{Label: o.Label, ID: o.ID, Certificate: o.cert, object: o.Object})
	}
	return left
}

// Clean removes what Leftovers lists, and returns it. Another process that is
// injecting meanwhile may fail for it, and nothing of what it has finished is
// touched. Cleaning twice is no error. [ErrNotStored] means that the token still
// shows what it has removed. It is seldom needed: Remove does the same.
func (s *Store) Clean(ctx context.Context) (_ []Leftover, err error) {
	defer wrap(&err, "clean", "")
	s.writing.Lock()
	defer s.writing.Unlock()
	now, err := s.surveyOpen(ctx)
	if err == nil {
		err = s.refreshWith(ctx, now) // so that its CRLs are known
	}
	left := s.leftovers(now.certificates)
	if err != nil || len(left) == 0 {
		return nil, err
	}
	if now, err = s.sweep(ctx, now); err != nil {
		return nil, err
	}
	for _, l := range s.leftovers(now.certificates) {
		if slices.ContainsFunc(left, func(f Leftover) bool { return f.object == l.object }) {
			return nil, fmt.Errorf("%w: %q is still there", ErrNotStored, l.Label)
		}
	}
	return left, s.refreshWith(ctx, now)
}

// sweep removes the issuers that nothing on the token names as its issuer, and
// returns what is there then.
func (s *Store) sweep(ctx context.Context, now survey) (survey, error) {
	rest := s.unneeded(now.certificates)
	if len(rest) == 0 {
		return now, nil
	}
	if err := s.removeAll(ctx, rest); err != nil {
		return survey{}, err
	}
	return s.giveBack(ctx, rest)
}

// giveBack writes those of the removed issuers again that are needed after all, and
// returns what is there then. Another process may have found them
// there, and written its entry after they were judged; it looks for them once more
// then, so that one of the two notices.
func (s *Store) giveBack(ctx context.Context, removed []found) (survey, error) {
	now, err := s.survey(ctx)
	if err != nil {
		return survey{}, err
	}
	again := missed(removed, now.certificates)
	for _, c := range again {
		t := p11.CertificateTemplate{Label: c.Label, ID: c.ID, Value: c.Value, Category: p11.CategoryAuthority, Private: true}
		if _, err := s.device.CreateCertificate(ctx, t); err != nil {
			return survey{}, err
		}
	}
	if len(again) == 0 {
		return now, nil
	}
	return s.survey(ctx)
}

// missed returns the removed issuers that an entry names, directly or through
// others of them, and that nothing on the token stands in for.
func missed(removed, objects []found) (again []found) {
	named, here := map[string]bool{}, map[string]bool{} // by subject
	add := func(o found) {
		if o.err == nil && alias.IsTrustID(o.ID) {
			named[string(o.cert.RawIssuer)] = true
			here[string(o.cert.RawSubject)] = true
		}
	}
	for _, o := range objects {
		add(o)
	}
	for more := true; more; {
		more = false
		for _, c := range removed {
			if c.err == nil && named[string(c.cert.RawSubject)] && !here[string(c.cert.RawSubject)] {
				again = append(again, c)
				add(c)
				more = true
			}
		}
	}
	return again
}

// unneeded follows the issuers' names upwards from the entries, trusted or not, and
// from the CRLs, which cannot be verified without their issuers. It returns the
// issuers that it does not come to.
func (s *Store) unneeded(objects []found) (rest []found) {
	waiting := map[string][]found{} // by subject
	above := map[string][]string{}  // issuers by subject
	next := s.snapshot().revocations.issuers()
	for _, o := range objects {
		switch {
		case o.err != nil || !alias.IsTrustID(o.ID):
		case alias.IsTrustIssuerLabel(o.Label):
			subject := string(o.cert.RawSubject)
			waiting[subject] = append(waiting[subject], o)
			above[subject] = append(above[subject], string(o.cert.RawIssuer))
		default:
			next = append(next, string(o.cert.RawIssuer))
		}
	}
	for ; len(next) > 0; next = next[1:] {
		if _, ok := waiting[next[0]]; ok {
			delete(waiting, next[0])
			next = append(next, above[next[0]]...)
		}
	}
	for _, same := range waiting {
		rest = append(rest, same...)
	}
	return rest
}
