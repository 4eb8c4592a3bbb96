// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// Remove removes every object that claims to be an entry under an alias, whether
// it is trusted or rejected, and every one with the same certificate: what has
// been removed is not trusted under another name. Issuers that prove nothing any
// more go too. [ErrNotFound] means there is no such object; identities and
// foreign ones are not for Remove. [ErrNotStored] means the token still shows
// one. When Remove returns nil, or cannot read the token any more, the entry is
// not trusted.
func (s *Store) Remove(ctx context.Context, name string) (err error) {
	defer wrap(&err, "remove", name)
	if name == "" || alias.IsTrustIssuerLabel(name) {
		return ErrNotFound
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.device == nil {
		return p11.ErrClosed
	}
	objects, err := s.entryObjects(ctx, name)
	if err == nil && len(objects) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return err
	}
	err = s.device.Destroy(ctx, objects...)
	s.publish(s.snapshot().without(name)) // also if the token cannot be read any more
	if err != nil {
		return errors.Join(err, s.refresh(ctx))
	}
	if objects, err = s.entryObjects(ctx, name); err == nil && len(objects) > 0 {
		err = ErrNotStored
	}
	return errors.Join(err, s.sweep(ctx), s.refresh(ctx))
}

// entryObjects returns the objects with an alias, and those with the certificate
// of one of these. An id alone may be a false claim.
func (s *Store) entryObjects(ctx context.Context, name string) (objects []p11.Object, err error) {
	named, err := s.device.Certificates(ctx, p11.Filter{Label: name})
	if err != nil {
		return nil, err
	}
	seen := map[p11.Object]bool{}
	for _, n := range named {
		if n.Label != name || !alias.IsTrustID(n.ID) {
			continue
		}
		same, err := s.device.Certificates(ctx, p11.Filter{ID: n.ID})
		if err != nil {
			return nil, err
		}
		for _, o := range append(same, n) {
			if bytes.Equal(o.Value, n.Value) && !alias.IsTrustIssuerLabel(o.Label) && !seen[o.Object] {
				seen[o.Object] = true
				objects = append(objects, o.Object)
			}
		}
	}
	return objects, nil
}

// sweep removes the issuers that nothing on the token names as its issuer.
func (s *Store) sweep(ctx context.Context) error {
	objects, err := s.device.Certificates(ctx, p11.Filter{})
	if err != nil {
		return err
	}
	return s.device.Destroy(ctx, unneeded(objects)...)
}

// unneeded follows the issuers' names upwards from the entries, trusted or not.
func unneeded(objects []p11.Certificate) (rest []p11.Object) {
	waiting := map[string][]p11.Object{} // by subject
	above := map[string][]string{}       // issuers by subject
	var next []string
	for _, o := range objects {
		cert, err := x509.ParseCertificate(o.Value)
		switch {
		case err != nil || !alias.IsTrustID(o.ID):
		case alias.IsTrustIssuerLabel(o.Label):
			subject := string(cert.RawSubject)
			waiting[subject] = append(waiting[subject], o.Object)
			above[subject] = append(above[subject], string(cert.RawIssuer))
		default:
			next = append(next, string(cert.RawIssuer))
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
