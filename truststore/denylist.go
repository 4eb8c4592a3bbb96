// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// MaxReason is how long a reason for a denial may be, in bytes.
const MaxReason = 256

var errReason = errors.New("reason is longer than 256 bytes or has a character that cannot be printed")

// A Denial is a certificate that is refused because somebody here said so,
// whatever its issuer thinks of it.
type Denial struct {
	Fingerprint [sha256.Size]byte // SHA-256 of the certificate
	Subject     string            // empty if only the fingerprint was given
	Reason      string
	At          time.Time

	// Err is nil, or [ErrVanished].
	Err error
}

// Deny puts a certificate on the deny-list of the token. It is then refused as an
// entry, as a peer, as an issuer of either, and as an anchor. A copy with another
// signature by the same issuer is the same certificate here. Reason is printable
// text of at most [MaxReason] bytes; it may be empty.
//
// The list is kept in private objects; a token that does not grant these is
// [ErrPublic]. Deny calls the token about five times, and reads the store again.
func (s *Store) Deny(ctx context.Context, cert *x509.Certificate, reason string) (err error) {
	defer wrap(&err, "deny", "")
	if cert == nil {
		return errCertificateMissing
	}
	signed := sha256.Sum256(cert.RawTBSCertificate)
	return s.deny(ctx, denyRecord{
		fingerprint: sha256.Sum256(cert.Raw), Signed: hex.EncodeToString(signed[:]),
		Subject: describe(cert), Reason: reason,
	})
}

// DenyFingerprint is Deny for a certificate that is not at hand, by the SHA-256 of
// its DER. Prefer Deny: an ECDSA signature can be changed by anybody without
// becoming invalid, and the certificate with it gets another fingerprint. If the
// store knows the certificate, DenyFingerprint does the same as Deny.
func (s *Store) DenyFingerprint(ctx context.Context, fingerprint [sha256.Size]byte, reason string) (err error) {
	if cert := s.snapshot().known(fingerprint); cert != nil {
		return s.Deny(ctx, cert, reason)
	}
	defer wrap(&err, "deny", "")
	return s.deny(ctx, denyRecord{fingerprint: fingerprint, Reason: reason})
}

// Allow takes a certificate from the deny-list, by its SHA-256. That it has been
// there is kept on the token, because a missing record decides nothing.
// [ErrNotFound] means that it is not on the list.
func (s *Store) Allow(ctx context.Context, fingerprint [sha256.Size]byte) (err error) {
	defer wrap(&err, "allow", "")
	return s.deny(ctx, denyRecord{fingerprint: fingerprint, Allowed: true})
}

// Denied returns the deny-list, by fingerprint. It does not reach the token.
func (s *Store) Denied() []Denial {
	r := s.snapshot().revocations
	if r == nil {
		return nil
	}
	var all []Denial
	for _, d := range r.denied {
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b Denial) int { return bytes.Compare(a.Fingerprint[:], b.Fingerprint[:]) })
	return all
}

var errCertificateMissing = errors.New("certificate is missing")

// deny writes a record, reads it back and removes the one it takes the place of.
func (s *Store) deny(ctx context.Context, n denyRecord) error {
	if len(n.Reason) > MaxReason || strings.IndexFunc(n.Reason, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		return errReason
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.device == nil {
		return p11.ErrClosed
	}
	now := s.snapshot()
	there, err := s.readRevocations(ctx, now)
	if err != nil {
		return err
	}
	old, known := there.records[n.fingerprint]
	if n.Allowed && (!known || old.Allowed) {
		return ErrNotFound
	}
	n.Signed, n.Subject = cmp.Or(n.Signed, old.Signed), cmp.Or(n.Subject, old.Subject) // what Deny knew, DenyFingerprint may not
	n.Sequence, n.At = old.Sequence+1, s.now().UTC().Truncate(time.Second)
	if n.object, err = s.writeRecord(ctx, n); err != nil {
		return err
	}
	if known && !old.lost {
		there.stale = append(there.stale, old.object)
	}
	there.records[n.fingerprint] = n
	there.deny()
	if !n.Allowed {
		s.publish(now.revoking(there.revocations, s.now()))
	}
	if len(there.stale) > 0 {
		err = s.device.Destroy(ctx, there.stale...)
	}
	return errors.Join(err, s.refresh(ctx))
}

func (s *Store) writeRecord(ctx context.Context, n denyRecord) (p11.Object, error) {
	t, err := n.template()
	if err != nil {
		return p11.Object{}, err
	}
	w := dataWriter{device: s.device}
	d, err := w.ensure(ctx, t)
	if err == nil && !d.Private {
		err = ErrPublic
	}
	if err != nil {
		w.undo(ctx)
	}
	return d.Object, err
}

func (r denyRecord) denial() *Denial {
	d := &Denial{Fingerprint: r.fingerprint, Subject: r.Subject, Reason: r.Reason, At: r.At}
	if d.Reason == "" {
		d.Reason = "no reason given"
	}
	if r.lost {
		d.Err = ErrVanished
	}
	return d
}

// signedSum returns the hash of what the issuer has signed, if it is known.
func (r denyRecord) signedSum() (sum [sha256.Size]byte, ok bool) {
	b, err := hex.DecodeString(r.Signed)
	if err != nil || len(b) != len(sum) {
		return sum, false
	}
	return [sha256.Size]byte(b), true
}

// known returns a certificate of the store by its fingerprint, or nil.
func (s *snapshot) known(fingerprint [sha256.Size]byte) *x509.Certificate {
	is := func(c *x509.Certificate) bool { return c != nil && sha256.Sum256(c.Raw) == fingerprint }
	for _, e := range s.entries {
		if is(e.Certificate) {
			return e.Certificate
		}
	}
	for _, r := range s.rejected {
		if is(r.Certificate) {
			return r.Certificate
		}
	}
	for _, c := range slices.Concat(s.kept, s.anchors.all) {
		if is(c) {
			return c
		}
	}
	return nil
}
