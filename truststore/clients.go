// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/hsmtls/hsmtls-go/internal/alias"
)

// clientPrefix begins the alias of a paired system's certificate. Sixteen digits
// of its SHA-256 follow, so that the alias is the certificate's alone.
const clientPrefix = "pos "

// Clients keeps the certificates of paired point-of-sale systems in a Store, as
// entries of their own kind: a pairing.Registry. Use it by pointer. It is safe for
// concurrent use. The anchors of the Store must include the root of the pairing
// CA, usually as [Anchors].Pairing.
type Clients struct {
	// Store is required.
	Store *Store

	last atomic.Pointer[clientList]
}

// clientList is what Clients has found in one snapshot.
type clientList struct {
	of    *snapshot
	certs []*x509.Certificate
}

func clientAlias(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return clientPrefix + hex.EncodeToString(sum[:8])
}

// Add lists chain[0], a client certificate; the rest of chain are its issuers.
// The certificate says whose it is, so posID is not looked at. Adding it again is
// no error. Errors are those of [Store.Inject]; after one, nothing has been
// listed.
func (c *Clients) Add(ctx context.Context, posID string, chain []*x509.Certificate) error {
	if whole(chain) != nil || c.Store == nil || c.Store.anchors == nil {
		return &Error{Op: "add client", Err: errors.New("certificate or store is missing")}
	}
	_, err := c.Store.Inject(ctx, clientAlias(chain[0]), c.Store.snapshot().anchors.cut(chain)...)
	return err
}

// Remove takes a certificate from the list. One that is not listed is no error.
// Errors are those of [Store.Remove].
func (c *Clients) Remove(ctx context.Context, cert *x509.Certificate) error {
	if cert == nil || c.Store == nil {
		return &Error{Op: "remove client", Err: errors.New("certificate or store is missing")}
	}
	err := c.Store.Remove(ctx, clientAlias(cert))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Clients returns the certificates on the list that were good when the token was
// last read, in no particular order. It does not reach the token. The slice must not be modified.
func (c *Clients) Clients() []*x509.Certificate {
	if c.Store == nil {
		return nil
	}
	now := c.Store.snapshot()
	if last := c.last.Load(); last != nil && last.of == now {
		return last.certs
	}
	list := &clientList{of: now}
	for _, e := range now.entries {
		if strings.HasPrefix(e.Alias, clientPrefix) && e.Alias == clientAlias(e.Certificate) {
			list.certs = append(list.certs, e.Certificate)
		}
	}
	c.last.Store(list)
	return list.certs
}

// Expired returns the certificates that have been on the list and are out of date,
// as of the last reading of the token, sorted. They are trusted for nothing, and
// stay on the token until they are removed. Nothing but their dates and marks is
// looked at any more: who has issued them may be gone. It does not reach the token.
func (c *Clients) Expired() []*x509.Certificate {
	if c.Store == nil || c.Store.now == nil {
		return nil
	}
	at := c.Store.now()
	var certs []*x509.Certificate
	for _, r := range c.Store.snapshot().rejected {
		listed := r.Certificate != nil && r.Label == clientAlias(r.Certificate) && alias.IsTrustID(r.ID)
		if listed && at.After(r.Certificate.NotAfter) {
			certs = append(certs, r.Certificate)
		}
	}
	return distinct(certs)
}
