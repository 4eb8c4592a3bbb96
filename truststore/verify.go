// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"cmp"
	"crypto/x509"
	"errors"
	"slices"
	"time"
)

// VerifyChain checks a certificate by the rules of this package, against roots
// of the caller's instead of a store. It is what [Store.Verify] does but for
// the trusted entries and the revoked certificates: here, a chain that ends in a
// root is enough.
//
// Chain is the certificate and, in any order, what may be its issuers. Name is a
// DNS name or an IP address, or empty if any will do. Usage is
// [x509.ExtKeyUsageServerAuth] or [x509.ExtKeyUsageClientAuth]; nothing else is
// answered. The result is a chain from chain[0] to one of the roots.
//
// A refusal is a [*RejectedError]. No token is involved. VerifyChain may be
// called by several goroutines at once.
func VerifyChain(roots, chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) (_ []*x509.Certificate, err error) {
	defer wrap(&err, "verify", "")
	q := question{name, usage, at}
	if err := q.valid(chain); err != nil {
		return nil, err
	}
	if err := whole(roots); err != nil {
		return nil, ErrNoAnchors
	}
	if err := check(chain[0], leaf); err != nil {
		return nil, err
	}
	found, err := q.paths(chain[0], issuers{}.above(chain), poolOf(roots))
	if err != nil {
		return nil, err
	}
	var refusal error
	for _, path := range found {
		err := cmp.Or(checkAnchor(path[len(path)-1]), checkPath(path))
		if err == nil {
			return path, nil
		}
		refusal = cmp.Or(refusal, err)
	}
	return nil, refusal
}

// Verify checks the certificate of a peer. Chain is what the peer sent, its own
// certificate first. The peer is accepted if there is a chain to an anchor that
// crypto/x509 and the profile of this package find good for the name, the usage
// and the time, and on that chain stands a trusted entry: the peer's own
// certificate, or one of its issuers. That an anchor vouches for a peer is not
// enough. Everything between the entry and the anchor counts: its dates, its
// name constraints, its path lengths, and that none of it is revoked.
//
// Name is a DNS name or an IP address, or empty if any will do. Usage is
// [x509.ExtKeyUsageServerAuth] for a server and [x509.ExtKeyUsageClientAuth] for
// a client; nothing else is answered. The result begins with the certificate of
// the peer and ends with the entry; its certificates must not be modified.
//
// A refusal is a [*RejectedError]; it holds [ErrUntrusted] if only the entry is
// missing, [ErrEmpty] if there is no entry at all, a [*RevokedError] if a CRL or
// the deny-list has revoked the certificate, and [ErrStaleCRL] or [ErrNoCRL] if the
// [CRLPolicy] asks for better CRLs. Verify works on the
// current snapshot and never reaches the token. It is safe for concurrent use.
func (s *Store) Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) (_ []*x509.Certificate, err error) {
	defer wrap(&err, "verify", "")
	q := question{name, usage, at}
	if err := q.valid(chain); err != nil {
		return nil, err
	}
	return s.snapshot().verify(chain, q)
}

func (s *snapshot) verify(chain []*x509.Certificate, q question) ([]*x509.Certificate, error) {
	if len(s.entries) == 0 {
		return nil, s.empty(chain[0])
	}
	if e, ok := s.byCertificate[string(chain[0].Raw)]; ok && q.holdsFor(e) && s.revocations.checkEntry(e, q.at) == nil {
		return []*x509.Certificate{e.Certificate}, nil
	}
	key := q.key(chain)
	if path, n, ok := s.recalled.of(key, chain[0], q.at); ok && s.revocations.check(path, q.at) == nil {
		return path[:n], nil
	}
	if err := check(chain[0], leaf); err != nil {
		return nil, err
	}
	path, n, err := s.search(chain, q)
	if err != nil {
		return nil, err
	}
	s.recalled.keep(key, path, n)
	return path[:n], nil
}

// search finds a good path, and how many of its certificates there are up to and with
// the trusted entry.
func (s *snapshot) search(chain []*x509.Certificate, q question) (path []*x509.Certificate, upTo int, err error) {
	found, err := q.paths(chain[0], s.issuers.above(chain), s.anchors.pool)
	if err != nil {
		return nil, 0, err
	}
	var refusal error
	for _, path := range found {
		err := cmp.Or(checkPath(path), s.anchors.vouch(path), s.revocations.check(path, q.at))
		n := s.trusted(path)
		if s.anchors.onlyPOS(path) && n != 1 {
			n = 0 // an issuer that another anchor made an entry does not help
		}
		if err == nil && n > 0 {
			return path, n, nil
		}
		refusal = cmp.Or(refusal, err)
	}
	return nil, 0, cmp.Or(refusal, error(&RejectedError{chain[0], ErrUntrusted}))
}

// empty is the refusal of a store without entries. Was the peer one, it says why it
// is not any more.
func (s *snapshot) empty(c *x509.Certificate) error {
	for _, r := range s.rejected {
		var refused *RejectedError
		if r.Certificate != nil && r.Certificate.Equal(c) && errors.As(r.Err, &refused) {
			return refused
		}
	}
	return &RejectedError{c, ErrEmpty}
}

// holdsFor answers for the certificate of an entry itself. Its chain has been
// verified when it was loaded, and only the time has passed since: no signature
// has to be checked again. A no is not the last word, for there may be another
// chain that is good longer.
func (q question) holdsFor(e Entry) bool {
	if !e.current(q.at) {
		return false
	}
	self := poolOf([]*x509.Certificate{e.Certificate})
	_, err := q.paths(e.Certificate, nil, self)
	return err == nil && !e.Certificate.IsCA && slices.Contains(e.Usages, q.usage)
}

// trusted returns how many certificates of a path there are up to and with the
// first trusted entry, or 0.
func (s *snapshot) trusted(path []*x509.Certificate) int {
	for i, c := range path {
		if _, ok := s.byCertificate[string(c.Raw)]; ok {
			return i + 1
		}
	}
	return 0
}

func poolOf(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}
