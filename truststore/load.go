// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"time"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// A found is a certificate object that says it is ours.
type found struct {
	p11.Certificate
	cert *x509.Certificate
}

// A sieve sorts the objects of a token.
type sieve struct {
	candidates []found
	kept       []*x509.Certificate
	rejected   []Rejected
}

// load reads the token. Being on it proves nothing, so every object is looked at
// as if it had just come in.
func (s *Store) load(ctx context.Context) (*snapshot, error) {
	if s.device == nil {
		return nil, p11.ErrClosed
	}
	objects, err := s.device.Certificates(ctx, p11.Filter{})
	if err != nil {
		return nil, err
	}
	keys, err := s.keyIDs(ctx, objects)
	if err != nil {
		return nil, err
	}
	var v sieve
	for _, o := range objects {
		v.sort(o, keys)
	}
	entries := s.prove(&v, s.now())
	return newSnapshot(s.anchors, v.settle(entries), v.kept, v.rejected), nil
}

// keyIDs returns the ids of the private keys, unless all certificates are this
// module's and nobody needs them.
func (s *Store) keyIDs(ctx context.Context, objects []p11.Certificate) (map[string]bool, error) {
	ids := map[string]bool{}
	for _, o := range objects {
		if alias.IsOwnID(o.ID) {
			continue
		}
		keys, err := s.device.Keys(ctx, p11.Filter{})
		for _, k := range keys {
			ids[string(k.ID)] = true
		}
		return ids, err
	}
	return ids, nil
}

// sort puts one object where it belongs by its marks.
func (v *sieve) sort(o p11.Certificate, keys map[string]bool) {
	cert, err := x509.ParseCertificate(o.Value)
	switch {
	case !alias.IsTrustID(o.ID):
		if !alias.IsOwnID(o.ID) && (len(o.ID) == 0 || !keys[string(o.ID)]) {
			v.reject(found{o, cert}, ErrForeign)
		}
	case err != nil:
		v.reject(found{o, nil}, err)
	case !bytes.Equal(o.ID, alias.TrustID(cert.Raw)):
		v.reject(found{o, cert}, ErrMarked)
	case o.Label == alias.TrustIssuerLabel(cert.Raw):
		v.kept = append(v.kept, cert)
	default:
		if err := alias.Check(o.Label); err != nil {
			v.reject(found{o, cert}, err)
			return
		}
		v.candidates = append(v.candidates, found{o, cert})
	}
}

func (v *sieve) reject(f found, err error) {
	v.rejected = append(v.rejected, Rejected{Label: f.Label, ID: f.ID, Certificate: f.cert, Err: err})
}

// prove verifies the candidates. Any of them may be an issuer of another.
func (s *Store) prove(v *sieve, at time.Time) (entries []Entry) {
	above := issuers{}
	for _, c := range v.kept {
		above.add(c)
	}
	for _, f := range v.candidates {
		above.add(f.cert)
	}
	for _, f := range v.candidates {
		e, err := proof(f.cert, above.above([]*x509.Certificate{f.cert}), s.anchors, at)
		if err != nil {
			v.reject(f, err)
			continue
		}
		e.Alias, e.Private = f.Label, f.Private
		entries = append(entries, e)
	}
	return entries
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
