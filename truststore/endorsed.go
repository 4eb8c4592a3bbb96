// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// InjectEndorsed is [Store.Inject] for the certificate of a server that somebody
// else has issued, such as a public CA, and that the acquirer or the vendor has
// signed before injection. Endorsement is that signature: a detached CMS SignedData
// in DER (RFC 5652) over the DER of the certificate, with SHA-256 or longer, signed
// attributes and one signer. The certificate of the signer must be in it, have the
// extended key usage documentSigning (RFC 9336) and no other, and chain to an
// acquirer's or vendor's anchor; the issuers on that way must be in it too, for those
// that the token has for other entries go with them.
//
// Only this certificate is trusted then, and only as a server: neither its issuers
// nor what they have to say count, so a CRL of theirs is not looked at. The
// endorsement is kept on the token and verified again whenever the store is read;
// it ends with the certificate of its signer, or when that is revoked.
//
// Errors are those of Inject; a [*RejectedError] with [ErrEndorsement] is about a
// signature that does not fit.
func (s *Store) InjectEndorsed(ctx context.Context, name string, cert *x509.Certificate, endorsement []byte) (_ Entry, err error) {
	defer wrap(&err, "inject", name)
	if err := alias.Check(name); err != nil {
		return Entry{}, err
	}
	if cert == nil {
		return Entry{}, errors.New("certificate is missing")
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.device == nil {
		return Entry{}, p11.ErrClosed
	}
	path, err := endorse(cert, endorsement, issuers{}, s.snapshot().anchors, s.now())
	if err != nil {
		return Entry{}, err
	}
	e := endorsedEntry(cert, path)
	e.Alias = name
	now, e, err := s.stand(ctx, e, nil)
	if err != nil {
		return Entry{}, err
	}
	// An endorsement without an entry is nothing, so it comes first.
	w := dataWriter{device: s.device}
	if err = w.keepEndorsement(ctx, cert, endorsement); err == nil {
		e, err = s.bring(ctx, now, e)
	}
	if err != nil {
		w.undo(ctx)
		return Entry{}, err
	}
	return e, nil
}

func endorsedEntry(c *x509.Certificate, path []*x509.Certificate) Entry {
	return Entry{Certificate: c, Endorsers: path, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

// keepEndorsement writes an endorsement, unless it is there. It may be a public
// object: it is verified whenever it is read.
func (w *dataWriter) keepEndorsement(ctx context.Context, cert *x509.Certificate, endorsement []byte) error {
	t := dataTemplate(alias.EndorsementLabel(cert.Raw), endorsement)
	whichever := func(p11.Data) bool { return true }
	if there, err := w.find(ctx, t, whichever); there != nil || err != nil {
		return err
	}
	if _, err := w.create(ctx, t); err != nil {
		return err
	}
	there, err := w.find(ctx, t, whichever)
	if err == nil && there == nil {
		err = ErrNotStored
	}
	return err
}

// proveEndorsed proves candidates that no anchor vouches for by the endorsements
// among the data objects of the token, and rejects the others.
func (s *Store) proveEndorsed(v *sieve, data []p11.Data, from *anchors) (endorsed []proved) {
	byLabel := map[string][]p11.Data{}
	for _, d := range data {
		byLabel[d.Label] = append(byLabel[d.Label], d)
	}
	for _, u := range v.unproved {
		e, err := s.proofByEndorsement(v, u, byLabel, from)
		if err != nil {
			v.reject(u.found, err)
			continue
		}
		e.Alias, e.Private = u.Label, u.Private
		endorsed = append(endorsed, proved{e, u.sum})
	}
	return endorsed
}

func (u unproved) mayBeEndorsed() bool {
	var unknown x509.UnknownAuthorityError
	return errors.As(u.refusal, &unknown) && !u.cert.IsCA
}

// proofByEndorsement tries what endorsements there are. Without one, the error is
// why there is no other proof.
func (s *Store) proofByEndorsement(v *sieve, u unproved, byLabel map[string][]p11.Data, from *anchors) (Entry, error) {
	refusal := u.refusal
	if !u.mayBeEndorsed() {
		return Entry{}, refusal
	}
	for _, d := range byLabel[alias.EndorsementLabel(u.cert.Raw)] {
		path, err := endorse(u.cert, d.Value, v.issuers(), from, s.now())
		if err == nil {
			return endorsedEntry(u.cert, path), nil
		}
		refusal = err
	}
	return Entry{}, refusal
}

// issuers are those that were found on the token.
func (v *sieve) issuers() issuers {
	found := issuers{}
	for _, c := range v.kept {
		found.add(c)
	}
	return found
}

// dropEndorsements removes those of certificates that are no entries any more.
func (s *Store) dropEndorsements(ctx context.Context, removed []found) (err error) {
	seen := map[fingerprint]bool{}
	for _, o := range removed {
		if seen[o.sum] {
			continue
		}
		seen[o.sum] = true
		found, failed := s.device.Data(ctx, p11.DataFilter{Label: alias.EndorsementLabel(o.Value), Application: alias.Application})
		err = errors.Join(err, failed)
		for _, d := range found {
			err = errors.Join(err, s.device.Destroy(ctx, d.Object))
		}
	}
	return err
}
