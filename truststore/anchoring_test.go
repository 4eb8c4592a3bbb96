// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// An office is a token that is opened by the officer and the user in turns.
type office struct {
	t   *testing.T
	cfg hsm.Config
}

func newOffice(t *testing.T) office { return office{t, hsmtest.Config(t)} }

func (o office) add(kind AnchorKind, c *x509.Certificate, proof ...*x509.Certificate) error {
	r := AnchorRequest{Kind: kind, Certificate: c}
	if len(proof) > 0 {
		r.Proof = proof[0]
	}
	return AddAnchor(o.t.Context(), o.cfg, hsmtest.Secret(hsmtest.SOPIN), r)
}

func (o office) remove(c *x509.Certificate) error {
	return RemoveAnchor(o.t.Context(), o.cfg, hsmtest.Secret(hsmtest.SOPIN), TokenAnchor{Certificate: c}.Fingerprint())
}

// as the user.
func (o office) as(f func(tok *hsm.Token)) {
	o.t.Helper()
	tok, err := hsm.Open(o.t.Context(), o.cfg)
	require.NoError(o.t, err)
	defer tok.Close()
	f(tok)
}

func (o office) anchors() (found map[AnchorKind][]string) {
	o.t.Helper()
	found = map[AnchorKind][]string{}
	o.as(func(tok *hsm.Token) {
		anchors, rejected, err := ReadAnchors(o.t.Context(), tok)
		require.NoError(o.t, err)
		require.Empty(o.t, rejected)
		for _, a := range anchors {
			found[a.Kind] = append(found[a.Kind], a.Certificate.Subject.CommonName)
		}
	})
	return found
}

// sub is a root that another one has signed, as its CA.
func sub(root *testpki.CA, name string) *x509.Certificate {
	return root.NewIntermediate(name).Certificate
}

// cross returns a certificate of the same subject and key, signed by another root.
func cross(by, of *testpki.CA) *x509.Certificate {
	template := *of.Certificate
	template.RawIssuer, template.AuthorityKeyId, template.SerialNumber = nil, nil, nil
	return by.Issue(&template, of.Key.Public())
}

func TestAddAnchor(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	acquirer, vendor := testpki.NewRoot("acquirer"), testpki.NewRoot("vendor")
	require.NoError(t, o.add(AcquirerAnchor, acquirer.Certificate))
	require.NoError(t, o.add(AcquirerAnchor, acquirer.Certificate), "again")
	require.NoError(t, o.add(VendorAnchor, vendor.Certificate))
	require.Equal(t, map[AnchorKind][]string{AcquirerAnchor: {"acquirer"}, VendorAnchor: {"vendor"}}, o.anchors())

	require.ErrorIs(t, o.remove(testpki.NewRoot("other").Certificate), ErrNotFound)
	require.NoError(t, o.remove(vendor.Certificate))
	require.Equal(t, map[AnchorKind][]string{AcquirerAnchor: {"acquirer"}}, o.anchors())
}

// What the owner has not signed does not come to its token, and it cannot be
// removed.
func TestOwnerDecides(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	owner, acquirer, next := testpki.NewRoot("owner"), testpki.NewRoot("acquirer"), testpki.NewRoot("next owner")
	require.NoError(t, o.add(OwnerAnchor, owner.Certificate))
	require.ErrorIs(t, o.add(AcquirerAnchor, acquirer.Certificate), ErrOwner)
	require.ErrorIs(t, o.add(AcquirerAnchor, acquirer.Certificate, cross(next, acquirer)), ErrOwner, "signed by another")
	require.ErrorIs(t, o.add(AcquirerAnchor, acquirer.Certificate, cross(owner, next)), ErrOwner, "proof of another")
	require.ErrorIs(t, o.add(OwnerAnchor, next.Certificate), ErrOwner)
	require.ErrorIs(t, o.remove(owner.Certificate), ErrOwner)
	require.Equal(t, map[AnchorKind][]string{OwnerAnchor: {"owner"}}, o.anchors())

	require.NoError(t, o.add(AcquirerAnchor, acquirer.Certificate, cross(owner, acquirer)))
	require.NoError(t, o.add(VendorAnchor, sub(owner, "vendor")), "signed by the owner itself")
	require.NoError(t, o.add(OwnerAnchor, next.Certificate, cross(owner, next)))
	require.Equal(t, map[AnchorKind][]string{
		OwnerAnchor: {"next owner"}, AcquirerAnchor: {"acquirer"}, VendorAnchor: {"vendor"},
	}, o.anchors())
	require.ErrorIs(t, o.add(OwnerAnchor, owner.Certificate), ErrOwner, "the old owner is nobody now")
}

func TestAddAnchorRefuses(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	root := testpki.NewRoot("root")
	expired := *root.Certificate
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	busy := *root.Certificate
	busy.KeyUsage |= x509.KeyUsageDigitalSignature
	reissued := func(template x509.Certificate) *x509.Certificate {
		return issue(t, &template, &template, root.Key.Public(), root.Key)
	}
	var invalid x509.CertificateInvalidError
	require.ErrorAs(t, o.add(VendorAnchor, reissued(expired)), &invalid)
	require.ErrorIs(t, o.add(VendorAnchor, reissued(busy)), ErrAnchorUsage)
	require.Equal(t, "ca", brokenRule(t, o.add(VendorAnchor, root.Server("a.example").Leaf)))
	require.Error(t, o.add("nobody", root.Certificate))
	require.Error(t, o.add(VendorAnchor, nil))
	require.Empty(t, o.anchors())

	require.NoError(t, AddAnchor(t.Context(), o.cfg, hsmtest.Secret(hsmtest.SOPIN), AnchorRequest{
		Kind: VendorAnchor, Certificate: reissued(busy), AllowKeyUsage: x509.KeyUsageDigitalSignature,
	}), "by name")
	err := AddAnchor(t.Context(), o.cfg, hsmtest.Secret("87654321"), AnchorRequest{Kind: VendorAnchor, Certificate: root.Certificate})
	require.ErrorIs(t, err, hsm.ErrPIN)
	o.as(func(*hsm.Token) { require.ErrorIs(t, o.add(VendorAnchor, root.Certificate), hsm.ErrBusy) })
}

// Without the mark of the security officer nothing is an anchor.
func TestPlantedAnchor(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	root := testpki.NewRoot("root")
	planted := TokenAnchor{VendorAnchor, root.Certificate}.template()
	misnamed := planted
	misnamed.ID = alias.AnchorID("vendor", []byte("another"))
	o.as(func(tok *hsm.Token) {
		for _, template := range []p11.CertificateTemplate{planted, misnamed} {
			_, err := tok.Device().CreateCertificate(t.Context(), template)
			require.NoError(t, err)
		}
		found, rejected, err := ReadAnchors(t.Context(), tok)
		require.NoError(t, err)
		require.Empty(t, found)
		require.Len(t, rejected, 2)
		require.ErrorIs(t, rejected[0].Err, ErrUnofficial)
	})
}
