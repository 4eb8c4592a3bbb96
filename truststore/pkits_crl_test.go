// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// TestPKITSRevocation asks what the sections of PKITS about CRLs ask, with
// certificates and CRLs of our own, of a Store that requires CRLs. Those sections
// whose CRLs are refused as a kind (4.14 with distribution points, 4.15 delta) end
// in a refusal also where PKITS would accept.
func TestPKITSRevocation(t *testing.T) {
	t.Parallel()
	unknown := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}
	point := func(tag int) pkix.Extension {
		return ext(t, oidDistributionPoint, true, asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: marshal(t, tagged(tag, false, []byte{0xff}))})
	}
	adding := func(e pkix.Extension) func(*pkitsCase) {
		return func(c *pkitsCase) {
			c.edit = func(l *x509.RevocationList) { l.ExtraExtensions = append(l.ExtraExtensions, e) }
		}
	}
	for _, tt := range []struct {
		name  string
		setUp func(*pkitsCase)
		good  bool
	}{
		{"4.4.1 missing CRL", func(c *pkitsCase) { c.without = true }, false},
		{"4.4.2 revoked CA", func(c *pkitsCase) { c.revokedCA = true }, false},
		{"4.4.3 revoked EE", func(c *pkitsCase) { c.revoke(c.serial) }, false},
		{"4.4.4 bad CRL signature", func(c *pkitsCase) { c.signer = &testpki.CA{Certificate: c.ca.Certificate, Key: c.root.Key} }, false},
		{"4.4.5 bad CRL issuer name", func(c *pkitsCase) { c.signer = renamed(c.ca) }, false},
		{"4.4.6 wrong CRL", func(c *pkitsCase) { c.signer = c.root }, false},
		{"4.4.7 two CRLs", func(c *pkitsCase) { c.also = testpki.NewRoot("PKITS CA"); c.revokeAlso(c.serial) }, true},
		{"4.4.8 unknown entry extension", func(c *pkitsCase) {
			c.edit = func(l *x509.RevocationList) {
				l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(1), RevocationTime: time.Now(), ExtraExtensions: []pkix.Extension{unknown}}}
			}
		}, false},
		{"4.4.9 unknown CRL extension", adding(unknown), false},
		{"4.4.11 old nextUpdate", func(c *pkitsCase) { c.next = -time.Minute }, false},
		{"4.4.13 GeneralizedTime nextUpdate", func(c *pkitsCase) { c.next = 30 * 365 * 24 * time.Hour }, true},
		{"4.4.14 negative serial number", func(c *pkitsCase) { c.revoke(new(big.Int).Neg(c.serial)) }, true},
		{"4.4.16 long serial number", func(c *pkitsCase) { c.revoke(new(big.Int).Xor(c.serial, big.NewInt(1))) }, true},
		{"4.4.18 long serial number revoked", func(c *pkitsCase) { c.revoke(big.NewInt(7)); c.revoke(c.serial) }, false},
		{"4.4.20 separate CRL key", func(c *pkitsCase) { c.signer = rekeyed(c.ca) }, false},
		{"4.7.4 keyUsage without cRLSign", func(c *pkitsCase) { c.usage = x509.KeyUsageCertSign }, false},
		{"4.14.10 no distribution point", func(*pkitsCase) {}, true},
		{"4.14.11 onlyContainsUserCerts", adding(point(1)), false},
		{"4.14.12 onlyContainsCACerts", adding(point(2)), false},
		{"4.14.14 onlyContainsAttributeCerts", adding(point(5)), false},
		{"4.14.15 onlySomeReasons", adding(point(3)), false},
		{"4.14.23 indirect CRL", adding(point(4)), false},
		{"4.15.1 delta CRL", adding(ext(t, oidDeltaIndicator, true, 1)), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newPKITSCase()
			tt.setUp(c)
			require.Equal(t, tt.good, c.verify(t) == nil)
		})
	}
}

// A pkitsCase is a root, a CA below it with a CRL, and an end entity.
type pkitsCase struct {
	root, ca, signer, also *testpki.CA
	serial                 *big.Int
	revoked, revokedAlso   []*big.Int
	edit                   func(*x509.RevocationList)
	next                   time.Duration
	usage                  x509.KeyUsage
	without, revokedCA     bool
}

func newPKITSCase() *pkitsCase {
	root := testpki.NewRoot("PKITS root")
	serial := new(big.Int).Lsh(big.NewInt(0x7f), 150) // 20 bytes
	ca := root.NewIntermediate("PKITS CA")
	return &pkitsCase{root: root, ca: ca, signer: ca, serial: serial, next: time.Hour}
}

func (c *pkitsCase) revoke(s *big.Int)     { c.revoked = append(c.revoked, s) }
func (c *pkitsCase) revokeAlso(s *big.Int) { c.revokedAlso = append(c.revokedAlso, s) }

// verify puts everything into a store and judges the end entity.
func (c *pkitsCase) verify(t *testing.T) error {
	t.Helper()
	if c.usage != 0 {
		narrow := c.root.Issue(&x509.Certificate{
			Subject: c.ca.Certificate.Subject, SubjectKeyId: c.ca.Certificate.SubjectKeyId,
			BasicConstraintsValid: true, IsCA: true, KeyUsage: c.usage,
		}, c.ca.Key.Public())
		c.ca = &testpki.CA{Certificate: narrow, Key: c.ca.Key}
	}
	template := testpki.ServerTemplate("host.example.com")
	template.SerialNumber = c.serial
	end := c.ca.Issue(template, c.root.Key.Public())
	s, err := open(t.Context(), newFaulty(t), Config{Anchors: Anchors{Vendor: certs(c.root.Certificate)}})
	require.NoError(t, err)
	_, err = s.Inject(t.Context(), "host", end, c.ca.Certificate)
	require.NoError(t, err)
	var ofRoot []*x509.Certificate
	if c.revokedCA {
		ofRoot = certs(c.ca.Certificate)
	}
	_, _ = s.InjectCRL(t.Context(), c.list(t, c.signer, c.revoked)) // a refusal shows in the answer
	_, err = s.InjectCRL(t.Context(), crlOf(t, c.root, 9, ofRoot...))
	require.NoError(t, err)
	if c.also != nil {
		_, err = s.InjectCRL(t.Context(), c.list(t, c.also, c.revokedAlso))
		require.ErrorIs(t, err, ErrCRLIssuer)
	}
	s.policy = RequireCRL
	require.NoError(t, s.Refresh(t.Context()))
	_, err = s.Verify(certs(end), "host.example.com", serverAuth, time.Now())
	return err
}

func (c *pkitsCase) list(t *testing.T, ca *testpki.CA, revoked []*big.Int) *x509.RevocationList {
	t.Helper()
	if c.without {
		return &x509.RevocationList{}
	}
	able := *ca.Certificate
	able.KeyUsage |= x509.KeyUsageCRLSign
	return crlWith(t, &testpki.CA{Certificate: &able, Key: ca.Key}, 1, func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = time.Now().Add(-time.Hour), time.Now().Add(c.next)
		for _, s := range revoked {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now()})
		}
		if c.edit != nil {
			c.edit(l)
		}
	})
}

// renamed signs with a CA's key in another name.
func renamed(ca *testpki.CA) *testpki.CA {
	other := testpki.NewRootWithKey("another name", ca.Key)
	other.Certificate.SubjectKeyId = ca.Certificate.SubjectKeyId
	return other
}

// rekeyed signs in a CA's name with another key.
func rekeyed(ca *testpki.CA) *testpki.CA {
	return testpki.NewRoot(ca.Certificate.Subject.CommonName)
}
