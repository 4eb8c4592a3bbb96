// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"maps"
	"slices"
	"time"
)

// proved is an entry with the fingerprint of its certificate.
type proved struct {
	Entry
	sum fingerprint
}

// prove verifies the candidates, of which any CA may be an issuer of another. What
// was proved by the same anchors and issuers before is looked at for its dates only:
// nothing else of it can have changed.
func (s *Store) prove(v *sieve, from *anchors, at time.Time) []proved {
	above, present := issuers{}, map[fingerprint]bool{}
	for _, c := range v.kept {
		above.add(c)
		present[sha256.Sum256(c.Raw)] = true
	}
	for _, f := range v.candidates {
		if f.cert.IsCA { // crypto/x509 takes nobody else for an issuer
			above.add(f.cert)
			present[f.sum] = true
		}
	}
	if s.known.anchors != from || !maps.Equal(s.known.issuers, present) {
		s.known.proofs = nil
	}
	entries, errs := s.proveAll(v.candidates, newProver(above, from, at))
	s.known.anchors, s.known.issuers = from, present
	s.known.proofs = make(map[fingerprint]Entry, len(entries))
	all := make([]proved, 0, len(entries))
	for i, f := range v.candidates {
		if errs[i] != nil {
			v.unproved = append(v.unproved, unproved{f, errs[i]})
			continue
		}
		s.known.proofs[f.sum] = entries[i]
		e := entries[i]
		e.Alias, e.Private = f.Label, f.Private
		all = append(all, proved{e, f.sum})
	}
	return all
}

func (s *Store) proveAll(candidates []found, p *prover) ([]Entry, []error) {
	entries, errs := make([]Entry, len(candidates)), make([]error, len(candidates))
	for _, f := range candidates {
		p.prepare(f.cert)
	}
	inParallel(len(candidates), func(i int) {
		f := candidates[i]
		if e, ok := s.known.proofs[f.sum]; ok && e.current(p.at) {
			entries[i] = e
			return
		}
		entries[i], errs[i] = p.proof(f.cert)
	})
	return entries, errs
}

// current reports whether an entry and all that prove it are within their dates.
func (e Entry) current(at time.Time) bool {
	late := func(c *x509.Certificate) bool { return !within(c, at) }
	return within(e.Certificate, at) && !slices.ContainsFunc(e.Issuers, late) && !slices.ContainsFunc(e.Endorsers, late)
}

// within reports whether a certificate is within its dates.
func within(c *x509.Certificate, at time.Time) bool {
	return !at.Before(c.NotBefore) && !at.After(c.NotAfter)
}

// A prover proves many certificates of few issuers. It finds the paths above an
// issuer once, and leaves to crypto/x509 what is between a certificate and its
// issuer: one signature for each certificate. That is the same as asking it for
// the whole path if nothing above says anything about the certificate but how long
// the path may be, which is looked at here. In all other cases, and for every
// refusal, crypto/x509 is asked for the whole.
type prover struct {
	above   issuers
	anchors *anchors
	at      time.Time
	ways    map[string][]way // by the issuer that is named
}

// A way is an issuer with the paths from it to anchors.
type way struct {
	pool  *x509.CertPool // the issuer alone
	paths [][]*x509.Certificate
}

func newProver(above issuers, from *anchors, at time.Time) *prover {
	return &prover{above: above, anchors: from, at: at, ways: map[string][]way{}}
}

// wayKey is what crypto/x509 finds and ranks issuers by.
func wayKey(c *x509.Certificate) string {
	return string(c.RawIssuer) + "\x00" + string(c.AuthorityKeyId)
}

// prepare finds the ways of c upwards. It must come before all proofs. No way means
// that crypto/x509 has to be asked.
func (p *prover) prepare(c *x509.Certificate) {
	key := wayKey(c)
	if _, ok := p.ways[key]; ok {
		return
	}
	p.ways[key] = nil
	var roots []*x509.Certificate
	for _, a := range p.anchors.all {
		if bytes.Equal(a.RawSubject, c.RawIssuer) && !slices.ContainsFunc(roots, a.Equal) {
			roots = append(roots, a)
		}
	}
	between := slices.DeleteFunc(slices.Clone(p.above[string(c.RawIssuer)]), func(i *x509.Certificate) bool {
		return slices.ContainsFunc(roots, i.Equal)
	})
	if len(roots)+len(between) > 1 {
		return // whose order crypto/x509 knows best
	}
	q := question{usage: x509.ExtKeyUsageAny, at: p.at}
	for _, issuer := range append(roots, between...) {
		paths, err := q.paths(issuer, p.above.above(certsOf(issuer)), p.anchors.pool)
		if err != nil || slices.ContainsFunc(paths, isParticular) {
			return
		}
		p.ways[key] = append(p.ways[key], way{poolOf(certsOf(issuer)), paths})
	}
}

func certsOf(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c} }

// isParticular reports whether something on a path is about what is below it, or
// may be.
func isParticular(path []*x509.Certificate) bool {
	return slices.ContainsFunc(path, func(c *x509.Certificate) bool {
		return has(oidNameConstraints)(c) || hasPolicyRules(c)
	})
}

func hasPolicyRules(c *x509.Certificate) bool {
	return has(oidPolicyConstraints)(c) || has(oidInhibitAnyPolicy)(c) || has(oidPolicyMappings)(c)
}

var oidPolicyMappings = asn1.ObjectIdentifier{2, 5, 29, 33}

// paths returns the ways from c to an anchor, as crypto/x509 would, or nothing if
// it has to be asked.
func (p *prover) paths(c *x509.Certificate) (found [][]*x509.Certificate) {
	if c.IsCA || hasPolicyRules(c) || p.anchors.is(c) {
		return nil
	}
	q := question{usage: x509.ExtKeyUsageAny, at: p.at}
	for _, w := range p.ways[wayKey(c)] {
		if _, err := q.paths(c, nil, w.pool); err != nil {
			return nil
		}
		for _, path := range w.paths {
			if admits(path, c) {
				found = append(found, append(certsOf(c), path...))
			}
		}
	}
	return found
}

func (a *anchors) is(c *x509.Certificate) bool { return slices.ContainsFunc(a.all, c.Equal) }

// admits reports whether a path may be as long as it is with a certificate below
// it. One that bears the name of an issuer above it is for crypto/x509, which looks
// for loops.
func admits(path []*x509.Certificate, c *x509.Certificate) bool {
	for between, issuer := range path {
		if issuer.BasicConstraintsValid && issuer.MaxPathLen >= 0 && between > issuer.MaxPathLen {
			return false
		}
		if bytes.Equal(issuer.RawSubject, c.RawSubject) {
			return false
		}
	}
	return true
}

// proof is [proof] for a certificate that was prepared.
func (p *prover) proof(c *x509.Certificate) (Entry, error) {
	if err := checkEntry(c); err != nil {
		return Entry{}, err
	}
	if paths := p.paths(c); len(paths) > 0 {
		if e, err := chosen(c, paths, p.anchors); err == nil {
			return e, nil
		}
	}
	return proof(c, p.above.above(certsOf(c)), p.anchors, p.at)
}
