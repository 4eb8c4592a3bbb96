// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
)

// A Renewal says in what a renewed certificate may differ from the present one.
// The zero Renewal lets it differ in serial number, dates, and what says nothing
// of whose it is or what it is good for. What is admitted here is admitted in the
// answer; it need not be there.
type Renewal struct {
	// Request is what to ask for, and admits its subject and its names. Nil means
	// to ask for exactly the subject and the subject alternative names of the
	// present certificate.
	Request *Request

	// Issuers are CAs that may sign the answer, beside the one that signed the
	// present certificate. Those that are no roots are also used to complete the
	// chain. Nil means none.
	Issuers []*x509.Certificate

	// Usages are extended key usages that the answer may have though the present
	// certificate has not. Nil means none.
	Usages []x509.ExtKeyUsage

	// KeyUsage has bits that the answer may have though the present certificate
	// has not. Zero means none.
	KeyUsage x509.KeyUsage

	// AllowEarlier admits an answer that begins before the present certificate, or
	// does not end after it.
	AllowEarlier bool
}

// Renew gives an identity a new certificate of the same key. It makes a request
// as [Store.RequestRenewal] does, has it answered by submit, and brings the answer
// into use as [Store.AcceptRenewal] does. The answer is leaf first, then issuers;
// those that are missing are taken from the token or from r.
//
// submit is the way to the CA, such as the method SimpleReenroll of an est.Client.
// Its error is wrapped and nothing is changed, as with every other error but
// those that come when the new certificate counts already: from Replace, or because
// it could not be read then, which the text says. An answer that is the
// present certificate again is [ErrNotLater]. The token makes one signature;
// while submit is at work it is free, and so is the Store.
func (s *Store) Renew(ctx context.Context, alias string, r Renewal, submit func(ctx context.Context, csr []byte) ([]*x509.Certificate, error)) (_ *Identity, err error) {
	defer wrap(&err, "renew", alias)
	if submit == nil {
		return nil, fmt.Errorf("%w: there is nobody to ask", ErrUnsupported)
	}
	present, csr, err := s.renewalRequest(ctx, alias, r)
	if err != nil {
		return nil, err
	}
	answer, err := submit(ctx, csr)
	if err != nil {
		return nil, err
	}
	if len(answer) > 0 && answer[0] != nil && answer[0].Equal(present.Chain[0]) {
		return nil, &ChainError{answer[0], fmt.Errorf("%w: it is the present one", ErrNotLater)}
	}
	return s.acceptRenewal(ctx, alias, r, answer)
}

// RequestRenewal returns a certificate request (PKCS #10, RFC 2986) in DER for
// the key of an identity, signed by the token: the first of two steps, for a CA
// that answers by other ways than a function call. Nothing has to be kept until
// the answer comes. Errors are those of Identity and CSR.
func (s *Store) RequestRenewal(ctx context.Context, alias string, r Renewal) (_ []byte, err error) {
	defer wrap(&err, "request renewal of", alias)
	_, csr, err := s.renewalRequest(ctx, alias, r)
	return csr, err
}

// AcceptRenewal brings the answer to a request into use, by [Store.Replace], and
// returns the new identity: the second of two steps. The answer is leaf first,
// then issuers. One that has been accepted before is no error.
//
// The answer is refused, and nothing is changed, unless it satisfies the
// conditions of Replace, which include the key ([ErrMismatch]), and what r says:
//
//   - [ErrIssuer]: the same CA key has signed the present certificate, or it is
//     one of r.Issuers,
//   - [ErrNotLater]: it ends after the present certificate, and does not begin
//     before it,
//   - [ErrWider]: subject, names and usages are those of the present certificate,
//     or fewer, or admitted by r.
//
// Each of these is in a [*ChainError].
func (s *Store) AcceptRenewal(ctx context.Context, alias string, r Renewal, answer []*x509.Certificate) (_ *Identity, err error) {
	defer wrap(&err, "renew", alias)
	return s.acceptRenewal(ctx, alias, r, answer)
}

func (s *Store) acceptRenewal(ctx context.Context, alias string, r Renewal, answer []*x509.Certificate) (*Identity, error) {
	if err := s.ready(ctx, alias); err != nil {
		return nil, err
	}
	present, err := s.load(ctx, alias)
	if err != nil {
		return nil, err
	}
	chain, err := r.complete(ctx, answer)
	if err != nil {
		return nil, err
	}
	if err := s.checkRenewal(present, r, chain); err != nil {
		return nil, err
	}
	if err := s.Replace(ctx, alias, chain); err != nil {
		return nil, inner(err)
	}
	id, err := s.cache.get(ctx, alias, s.load)
	if err != nil {
		return nil, fmt.Errorf("the new certificate is on the token and counts, but could not be read: %w", err)
	}
	return id, nil
}

// checkRenewal decides about an answer without reaching the token.
func (s *Store) checkRenewal(present *Identity, r Renewal, chain []*x509.Certificate) error {
	check := checkLeaf
	if present.Chain[0].IsCA {
		check = checkAuthority
	}
	if err := checkChainOf(chain, s.now(), check); err != nil {
		return err
	}
	if !samePublic(chain[0].PublicKey, present.Key.Public()) {
		return fmt.Errorf("%w: the answer is not for key %q", ErrMismatch, present.Key.info.Alias)
	}
	if chain[0].Equal(present.Chain[0]) {
		return nil
	}
	if err := r.check(present.Chain, chain); err != nil {
		return &ChainError{chain[0], err}
	}
	return nil
}

// complete adds the issuers that the answer left out, as far as r has them.
func (r Renewal) complete(ctx context.Context, answer []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(answer) == 0 || slices.Contains(answer, nil) {
		return nil, fmt.Errorf("%w: there is no certificate", ErrChain)
	}
	if slices.Contains(r.Issuers, nil) {
		return nil, fmt.Errorf("%w: there is no certificate among the issuers", ErrChain)
	}
	last := answer[len(answer)-1]
	above, err := walk(ctx, last, func(context.Context, []byte) ([]*x509.Certificate, error) {
		return slices.DeleteFunc(slices.Clone(r.Issuers), selfSigned), nil
	})
	if err != nil {
		return nil, err
	}
	return slices.Concat(answer, above[1:]), nil
}

// inner returns what a method of Store has wrapped.
func inner(err error) error {
	if e, ok := err.(*Error); ok {
		return e.Err
	}
	return err
}
