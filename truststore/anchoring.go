// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// An AnchorRequest is a root to put on a token.
type AnchorRequest struct {
	// Kind and Certificate are required.
	Kind        AnchorKind
	Certificate *x509.Certificate

	// Proof is a certificate of the same subject and key as Certificate, signed
	// by the owner root. Nil if the owner root has signed Certificate itself, or
	// the token has no owner root yet.
	Proof *x509.Certificate

	// AllowKeyUsage admits key usages beside keyCertSign and cRLSign. Zero means
	// none.
	AllowKeyUsage x509.KeyUsage

	// Now is the clock by which the certificates are judged. Nil means
	// [time.Now].
	Now func() time.Time
}

// AddAnchor writes a root to a token as its security officer, who alone can mark
// a certificate with CKA_TRUSTED (PKCS#11 v2.40 section 4.6.3). A [Store] uses it
// if [Config].TokenAnchors is set. cfg names the token, as for [hsm.UnblockPIN];
// the token must not be open in this process ([hsm.ErrBusy]).
//
// A [*RejectedError] is about a root that breaks the profile, is out of date, may
// do more than sign certificates ([ErrAnchorUsage]), or is not signed by the
// owner root of the token ([ErrOwner]); nothing is written then. An owner root
// that is signed by the present one replaces it: the old one is removed when the
// new one is on the token. The same root again changes nothing and is no error.
// A token that does not keep the mark is [ErrNotStored].
//
// The owner root vouches for roots beside it, not for a path below it: its path length
// and its name constraints bind nobody.
func AddAnchor(ctx context.Context, cfg hsm.Config, soPIN hsm.PIN, r AnchorRequest) (err error) {
	defer wrap(&err, "add anchor", "")
	if err := r.check(); err != nil {
		return err
	}
	return hsm.AsOfficer(ctx, cfg, soPIN, func(o p11.Officer) error { return r.carryOut(o) })
}

// RemoveAnchor removes the root with this SHA-256 from a token, as AddAnchor adds
// it. The owner root stays: [ErrOwner]. One that is not there is [ErrNotFound].
func RemoveAnchor(ctx context.Context, cfg hsm.Config, soPIN hsm.PIN, fingerprint [32]byte) (err error) {
	defer wrap(&err, "remove anchor", "")
	return hsm.AsOfficer(ctx, cfg, soPIN, func(o p11.Officer) error {
		present, err := official(o)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(present, func(a officialAnchor) bool { return a.Fingerprint() == fingerprint })
		switch {
		case i < 0:
			return ErrNotFound
		case present[i].Kind == OwnerAnchor:
			return &RejectedError{present[i].Certificate, ErrOwner}
		}
		return o.Destroy(present[i].object)
	})
}

func (r AnchorRequest) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

// check judges the root by itself.
func (r AnchorRequest) check() error {
	if r.Certificate == nil || !slices.Contains(anchorKinds, r.Kind) {
		return fmt.Errorf("certificate is missing, or kind %q is none", r.Kind)
	}
	if err := checkAnchor(r.Certificate); err != nil {
		return err
	}
	if err := current(r.Certificate, r.now()); err != nil {
		return err
	}
	if r.Certificate.KeyUsage&^(x509.KeyUsageCertSign|x509.KeyUsageCRLSign|r.AllowKeyUsage) != 0 {
		return &RejectedError{r.Certificate, ErrAnchorUsage}
	}
	return nil
}

func current(c *x509.Certificate, at time.Time) error {
	if !within(c, at) {
		return &RejectedError{c, x509.CertificateInvalidError{Cert: c, Reason: x509.Expired}}
	}
	return nil
}

// An officialAnchor is an anchor with the object that holds it.
type officialAnchor struct {
	TokenAnchor
	object p11.Object
}

// official returns the anchors that a token has.
func official(o p11.Officer) (anchors []officialAnchor, err error) {
	marked, err := o.Certificates()
	for _, c := range marked {
		if a, err := readAnchor(c); err == nil {
			anchors = append(anchors, officialAnchor{a, c.Object})
		}
	}
	return anchors, err
}

// carryOut writes the root and then removes the owner root it takes the place of.
func (r AnchorRequest) carryOut(o p11.Officer) error {
	present, err := official(o)
	if err != nil {
		return err
	}
	owners := slices.DeleteFunc(slices.Clone(present), func(a officialAnchor) bool { return a.Kind != OwnerAnchor })
	signers := slices.DeleteFunc(slices.Clone(owners), func(a officialAnchor) bool { return r.signedBy(a.Certificate) != nil })
	there := r.isAmong(present)
	if !there && len(owners) > 0 && len(signers) == 0 {
		return &RejectedError{r.Certificate, errors.Join(ErrOwner, r.signedBy(owners[0].Certificate))}
	}
	if !there {
		if err := r.write(o); err != nil {
			return err
		}
	}
	if r.Kind != OwnerAnchor {
		return nil
	}
	return supersede(o, signers, r.Certificate)
}

// supersede removes the owner roots that have signed another one.
func supersede(o p11.Officer, signers []officialAnchor, by *x509.Certificate) error {
	for _, old := range signers {
		if old.Certificate.Equal(by) { // a root has signed itself
			continue
		}
		if err := o.Destroy(old.object); err != nil {
			return err
		}
	}
	return nil
}

// signedBy says why the owner root does not vouch for the new one, or nil.
func (r AnchorRequest) signedBy(owner *x509.Certificate) error {
	signed := r.Certificate
	if r.Proof != nil {
		signed = r.Proof
		if !bytes.Equal(signed.RawSubject, r.Certificate.RawSubject) ||
			!bytes.Equal(signed.RawSubjectPublicKeyInfo, r.Certificate.RawSubjectPublicKeyInfo) {
			return errors.New("the proof is about another subject or key")
		}
	}
	if err := check(signed, authority); err != nil {
		return err
	}
	if err := errors.Join(current(signed, r.now()), current(owner, r.now())); err != nil {
		return err
	}
	return signed.CheckSignatureFrom(owner)
}

// write brings the root to the token and looks whether it is there with the mark.
func (r AnchorRequest) write(o p11.Officer) error {
	written, err := o.Create(r.anchor().template())
	if err != nil {
		return err
	}
	present, err := official(o)
	if err != nil {
		return err
	}
	if r.isAmong(present) {
		return nil
	}
	return errors.Join(ErrNotStored, o.Destroy(written.Object))
}

func (r AnchorRequest) anchor() TokenAnchor { return TokenAnchor{r.Kind, r.Certificate} }

func (r AnchorRequest) isAmong(present []officialAnchor) bool {
	return slices.ContainsFunc(present, func(a officialAnchor) bool { return a.equal(r.anchor()) })
}
