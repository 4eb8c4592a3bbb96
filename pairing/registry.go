// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"cmp"
	"context"
	"crypto/x509"
	"log/slog"
	"slices"
	"time"
)

// A Registry remembers the certificates of paired POS; on a terminal it is the
// trust store in the token (truststore.Clients). It must be safe for concurrent
// use.
//
// A Registry that also has a method Expired() []*x509.Certificate tells of the
// certificates that are not listed any more because they are out of date, and that
// Remove removes for good.
type Registry interface {
	// Add lists chain[0]; the rest of chain are its issuers, the root last. When
	// it returns an error nothing has been listed. Adding the same certificate
	// again is no error.
	Add(ctx context.Context, posID string, chain []*x509.Certificate) error
	// Remove takes a certificate from the list. One that is not listed is no
	// error. When it returns nil, Clients does not hold it any more.
	Remove(ctx context.Context, cert *x509.Certificate) error
	// Clients returns the listed certificates. It is called for each request
	// and in each handshake: it answers from memory, and with a slice the caller
	// does not change.
	Clients() []*x509.Certificate
}

// A POS is a paired point-of-sale system. Its certificate must not be modified.
type POS struct {
	ID          string
	Certificate *x509.Certificate
}

// Expires is when the certificate does.
func (p POS) Expires() time.Time { return p.Certificate.NotAfter }

// List returns the paired POS by id; of one id, the newest certificate first.
// There are two only while a renewed certificate has not been used yet. It does
// not reach the token.
func (t *Terminal) List() []POS {
	if t.Registry == nil {
		return nil
	}
	return sorted(t.Registry.Clients())
}

// Expired returns the POS whose certificates are out of date, as List does, if the
// Registry remembers them. Such a POS cannot connect, and must pair again. It does
// not reach the token.
func (t *Terminal) Expired() []POS {
	if r, ok := t.Registry.(interface{ Expired() []*x509.Certificate }); ok {
		return sorted(r.Expired())
	}
	return nil
}

// Prune removes what Expired returns for good, and says how many certificates
// that were. It is nothing to do on its own: a clock that is wrong for a moment
// would cost every POS its pairing. It needs the Registry alone, and reaches the
// token.
func (t *Terminal) Prune(ctx context.Context) (n int, err error) {
	if t.Registry == nil {
		return 0, errNoRegistry
	}
	for _, p := range t.Expired() {
		if err := t.unlist(ctx, p.Certificate); err != nil {
			return n, err
		}
		t.log().Info("expired certificate of POS removed", append([]any{slog.String("posId", p.ID)}, described(p.Certificate)...)...)
		n++
	}
	return n, nil
}

func sorted(certs []*x509.Certificate) (all []POS) {
	for _, c := range certs {
		if id, ok := POSID(c); ok {
			all = append(all, POS{id, c})
		}
	}
	slices.SortFunc(all, func(a, b POS) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), b.Certificate.NotBefore.Compare(a.Certificate.NotBefore))
	})
	return all
}

// find returns the POS a listed certificate belongs to.
func (t *Terminal) find(cert *x509.Certificate) (POS, bool) {
	for _, c := range t.Registry.Clients() {
		if c.Equal(cert) {
			id, ok := POSID(c)
			return POS{id, c}, ok
		}
	}
	return POS{}, false
}

// expired returns the certificates of one POS that are out of date.
func (t *Terminal) expired(posID string) (certs []*x509.Certificate) {
	for _, p := range t.Expired() {
		if p.ID == posID {
			certs = append(certs, p.Certificate)
		}
	}
	return certs
}

// of returns the certificates of one POS that are listed.
func (t *Terminal) of(posID string) (certs []*x509.Certificate) {
	for _, c := range t.Registry.Clients() {
		if id, ok := POSID(c); ok && id == posID {
			certs = append(certs, c)
		}
	}
	return certs
}

type posKey struct{}

// POSFrom returns the POS that made a request, from the context of a request
// that [Terminal] passed to its Handler.
func POSFrom(ctx context.Context) (POS, bool) {
	p, ok := ctx.Value(posKey{}).(POS)
	return p, ok
}
