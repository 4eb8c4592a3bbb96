// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// crlOf makes a CRL of a CA that revokes certificates.
func crlOf(t testing.TB, ca *testpki.CA, number int64, revoked ...*x509.Certificate) *x509.RevocationList {
	t.Helper()
	return crlWith(t, ca, number, func(l *x509.RevocationList) {
		for _, c := range revoked {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{
				SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Minute), ReasonCode: 1,
			})
		}
	})
}

func crlWith(t testing.TB, ca *testpki.CA, number int64, edit func(*x509.RevocationList)) *x509.RevocationList {
	t.Helper()
	list := &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
	}
	edit(list)
	return ca.CRL(list)
}

// revokedBy asserts that err is a revocation of c.
func revokedBy(t *testing.T, err error, c, by *x509.Certificate) {
	t.Helper()
	var revoked *RevokedError
	require.ErrorAs(t, err, &revoked)
	require.True(t, revoked.Certificate.Equal(c))
	if by == nil {
		require.Nil(t, revoked.By)
		return
	}
	require.True(t, revoked.By.Equal(by))
}

// A CRL goes in, takes effect at once and after a restart, and comes out again.
func TestInjectCRL(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	one, two := a.lower.Server("one.example.com").Leaf, a.lower.Server("two.example.com").Leaf
	for name, c := range map[string]*x509.Certificate{"one": one, "two": two} {
		_, err := s.Inject(ctx, name, a.sent(c)...)
		require.NoError(t, err)
	}
	generation := s.Generation()

	got, err := s.InjectCRL(ctx, crlOf(t, a.lower, 1, one))
	require.NoError(t, err)
	require.NoError(t, got.Err)
	require.Equal(t, 1, got.Revoked)
	require.True(t, got.Private)
	require.Equal(t, []CRL{got}, s.CRLs())
	require.Greater(t, s.Generation(), generation)

	for _, s := range []*Store{s, a.open(t, f)} {
		_, err = s.Verify(a.sent(one), "one.example.com", serverAuth, time.Now())
		revokedBy(t, err, one, a.lower.Certificate)
		_, err = s.Verify(a.sent(two), "two.example.com", serverAuth, time.Now())
		require.NoError(t, err)
		require.Len(t, s.Entries(), 1)
		require.Len(t, s.Rejected(), 1)
		revokedBy(t, s.Rejected()[0].Err, one, a.lower.Certificate)
	}
	_, err = s.Inject(ctx, "again", a.sent(one)...)
	revokedBy(t, err, one, a.lower.Certificate)

	// The same again changes nothing; a newer one can take a hold back.
	generation = s.Generation()
	_, err = s.InjectCRL(ctx, crlOf(t, a.lower, 0, two))
	require.ErrorIs(t, err, ErrOlder)
	_, err = s.InjectCRL(ctx, crlOf(t, a.lower, 1, two))
	require.ErrorIs(t, err, ErrOlder, "the same number with another content")
	require.Equal(t, generation, s.Generation())
	_, err = s.InjectCRL(ctx, crlOf(t, a.lower, 2))
	require.NoError(t, err)
	require.Len(t, s.Entries(), 2)
	require.Len(t, f.data(t), 2, "the CRL and its record")

	require.ErrorIs(t, s.RemoveCRL(ctx, "0123456789abcdef"), ErrNotFound)
	require.NoError(t, s.RemoveCRL(ctx, got.ID))
	require.Empty(t, s.CRLs())
	require.Len(t, f.data(t), 1)
	for _, s := range []*Store{s, a.open(t, f)} {
		_, err = s.InjectCRL(ctx, crlOf(t, a.lower, 1, one))
		require.ErrorIs(t, err, ErrOlder, "not even after it has been removed")
	}
}

func TestCRLAgain(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s := a.open(t, f)
	list := crlOf(t, a.root, 5, a.upper.Certificate)
	_, err := s.InjectCRL(t.Context(), list)
	require.NoError(t, err)
	generation, before := s.Generation(), f.data(t)
	_, err = s.InjectCRL(t.Context(), list)
	require.NoError(t, err)
	require.Equal(t, generation, s.Generation())
	require.Equal(t, before, f.data(t))
}

// Every certificate on a path counts, wherever it stands.
func TestRevokedIssuer(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	for name, tt := range map[string]struct {
		by      *testpki.CA
		revoked *x509.Certificate
	}{
		"issuing CA":       {a.upper, a.lower.Certificate},
		"upper CA by root": {a.root, a.upper.Certificate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := a.open(t, newFaulty(t))
			host := a.lower.Server("host.example.com").Leaf
			_, err := s.Inject(t.Context(), "host", a.sent(host)...)
			require.NoError(t, err)
			_, err = s.Inject(t.Context(), "ca", a.sent(a.lower.Certificate)[1:]...)
			require.NoError(t, err)
			other := a.lower.Server("other.example.com").Leaf
			_, err = s.Verify(a.sent(other), "other.example.com", serverAuth, time.Now())
			require.NoError(t, err, "by the entry of the CA")

			_, err = s.InjectCRL(t.Context(), crlOf(t, tt.by, 1, tt.revoked))
			require.NoError(t, err)
			require.Empty(t, s.Entries())
			for _, c := range certs(host, other) {
				_, err = s.Verify(a.sent(c), "", serverAuth, time.Now())
				require.ErrorAs(t, err, new(*RejectedError))
			}
			_, err = s.InjectCRL(t.Context(), crlOf(t, a.lower, 1, host))
			revokedBy(t, err, tt.revoked, tt.by.Certificate)
		})
	}
}

// A revoked issuer is no obstacle if the same CA has another certificate.
func TestOtherPathStands(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("root")
	ca := root.NewIntermediate("CA")
	renewed := root.Issue(&x509.Certificate{
		Subject: ca.Certificate.Subject, BasicConstraintsValid: true, IsCA: true, SubjectKeyId: ca.Certificate.SubjectKeyId,
	}, ca.Key.Public())
	s, err := open(t.Context(), newFaulty(t), Config{Anchors: Anchors{Vendor: certs(root.Certificate)}})
	require.NoError(t, err)
	host := ca.Server("host.example.com").Leaf
	e, err := s.Inject(t.Context(), "host", host, ca.Certificate)
	require.NoError(t, err)
	require.True(t, e.Issuers[0].Equal(ca.Certificate))
	second := ca.Server("second.example.com").Leaf
	_, err = s.Inject(t.Context(), "renewed", renewed)
	require.NoError(t, err)

	_, err = s.InjectCRL(t.Context(), crlOf(t, root, 1, ca.Certificate))
	require.NoError(t, err)
	require.Len(t, s.Entries(), 2)
	require.True(t, s.Entries()[0].Issuers[0].Equal(renewed))
	for _, c := range certs(host, second) {
		_, err = s.Verify(certs(c), "", serverAuth, time.Now())
		require.NoError(t, err)
	}
}

func TestCRLPolicy(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s := a.open(t, f)
	host := a.lower.Server("host.example.com").Leaf
	_, err := s.Inject(t.Context(), "host", a.sent(host)...)
	require.NoError(t, err)
	later := time.Now().Add(2 * time.Hour)
	at := func(p CRLPolicy) (*Store, error) {
		cfg := a.config()
		cfg.CRLs, cfg.Now = p, func() time.Time { return later }
		return open(t.Context(), f, cfg)
	}
	verify := func(s *Store) error {
		_, err := s.Verify(certs(host), "", serverAuth, later)
		return err
	}
	for _, p := range []CRLPolicy{UseStaleCRL, RefuseStaleCRL, RequireCRL} {
		s, err := at(p)
		require.NoError(t, err)
		if p == RequireCRL {
			require.ErrorIs(t, s.Rejected()[0].Err, ErrNoCRL)
			require.Error(t, verify(s))
			continue
		}
		require.NoError(t, verify(s), "no CRL is needed")
	}
	for _, ca := range []*testpki.CA{a.root, a.upper, a.lower} {
		_, err = s.InjectCRL(t.Context(), crlOf(t, ca, 1))
		require.NoError(t, err)
	}
	for _, p := range []CRLPolicy{UseStaleCRL, RefuseStaleCRL, RequireCRL} {
		s, err := at(p)
		require.NoError(t, err)
		for _, c := range s.CRLs() {
			require.ErrorIs(t, c.Err, ErrStaleCRL)
		}
		if p == UseStaleCRL {
			require.NoError(t, verify(s))
			continue
		}
		require.ErrorIs(t, s.Rejected()[0].Err, ErrStaleCRL)
		require.Error(t, verify(s))
	}
	cfg := a.config()
	cfg.CRLs = RequireCRL
	strict, err := open(t.Context(), f, cfg)
	require.NoError(t, err)
	_, err = strict.Verify(certs(host), "", serverAuth, time.Now())
	require.NoError(t, err, "while they are current")
	_, err = strict.Verify(certs(host), "", serverAuth, later)
	require.ErrorIs(t, err, ErrStaleCRL, "the time passes without a refresh")
	cfg.CRLs = RequireCRL + 1
	_, err = open(t.Context(), f, cfg)
	require.ErrorIs(t, err, errCRLPolicy)
}

// A CRL that vanishes does not make anybody trusted again while the process runs,
// and is missed after a restart.
func TestVanishedCRL(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	host := a.lower.Server("host.example.com").Leaf
	_, err := s.Inject(ctx, "host", a.sent(host)...)
	require.NoError(t, err)
	older := crlOf(t, a.lower, 6, host)
	_, err = s.InjectCRL(ctx, crlOf(t, a.lower, 7, host))
	require.NoError(t, err)
	objects, err := f.device.Data(ctx, p11.DataFilter{Label: crlLabelOf(a.lower)})
	require.NoError(t, err)
	require.Len(t, objects, 1)
	require.NoError(t, f.device.Destroy(ctx, objects[0].Object))

	require.NoError(t, s.Refresh(ctx))
	require.ErrorIs(t, s.CRLs()[0].Err, ErrVanished)
	require.Empty(t, s.Entries())
	_, err = s.Verify(a.sent(host), "", serverAuth, time.Now())
	require.Error(t, err)

	restarted := a.open(t, f)
	require.Len(t, restarted.CRLs(), 1)
	require.ErrorIs(t, restarted.CRLs()[0].Err, ErrNoCRL)
	require.Equal(t, int64(7), restarted.CRLs()[0].Number.Int64())
	_, err = restarted.InjectCRL(ctx, older)
	require.ErrorIs(t, err, ErrOlder)
	cfg := a.config()
	cfg.CRLs = RefuseStaleCRL
	strict, err := open(ctx, f, cfg)
	require.NoError(t, err)
	require.ErrorIs(t, strict.Rejected()[0].Err, ErrNoCRL)

	// An old one that is planted does not hide that a newer one is missing.
	f.plantData(t, crlLabelOf(a.lower), older.Raw)
	planted := a.open(t, f)
	require.ErrorIs(t, planted.CRLs()[0].Err, ErrNoCRL)
	require.Empty(t, planted.Entries(), "what it revokes is revoked")
	require.NoError(t, s.Refresh(ctx))
	require.Equal(t, int64(7), s.CRLs()[0].Number.Int64(), "this process knows better")
	require.NoError(t, planted.RemoveCRL(ctx, planted.CRLs()[0].ID))
	require.Empty(t, planted.CRLs())
	require.Len(t, planted.Entries(), 1)
	require.NoError(t, s.Refresh(ctx))
	require.Empty(t, s.CRLs(), "it has been removed, not lost")
	require.Len(t, s.Entries(), 1)
}

func crlLabelOf(ca *testpki.CA) string {
	id := issuerIDOf(ca.Certificate)
	return alias.CRLLabel(id[:])
}

// What is on the token without having been verified is verified when it is read.
func TestPlantedCRL(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s, ctx := a.open(t, f), t.Context()
	host := a.lower.Server("host.example.com").Leaf
	_, err := s.Inject(ctx, "host", a.sent(host)...)
	require.NoError(t, err)
	stranger := testpki.NewRoot("acquirer root")
	id := issuerIDOf(a.lower.Certificate)
	mark, err := crlMark{id: id, sequence: 9, name: "x", number: big.NewInt(9)}.template()
	require.NoError(t, err)
	denial, err := denyRecord{fingerprint: [32]byte{1}, Sequence: 9}.template()
	require.NoError(t, err)
	for label, value := range map[string][]byte{
		crlLabelOf(a.root): crlOf(t, stranger, 1).Raw, crlLabelOf(a.upper): []byte("junk"),
		mark.Label: mark.Value, denial.Label: denial.Value, "something else": []byte("x"),
	} {
		f.plantData(t, label, value)
	}
	require.NoError(t, s.Refresh(ctx))
	require.Len(t, s.Entries(), 1)
	require.Empty(t, s.CRLs())
	require.Empty(t, s.Denied())
	require.Len(t, s.Rejected(), 4)
	var public, issuer int
	for _, r := range s.Rejected() {
		require.Nil(t, r.Certificate)
		if err := r.Err; err != nil {
			var refused *CRLError
			switch {
			case errors.As(err, &refused):
				issuer++
			default:
				require.ErrorIs(t, err, ErrPublic)
				public++
			}
		}
	}
	require.Equal(t, [2]int{2, 2}, [2]int{public, issuer})

	f.plantData(t, crlLabelOf(a.lower), crlOf(t, a.lower, 1, host).Raw)
	require.NoError(t, s.Refresh(ctx))
	require.Empty(t, s.Entries(), "whoever wrote it, the CA has signed it")
}

func TestCRLRefusals(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	s := a.open(t, newFaulty(t))
	_, err := s.Inject(t.Context(), "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.NoError(t, err)
	noSign := a.root.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "no CRLs"}, BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}, a.root.Key.Public())
	_, err = s.Inject(t.Context(), "no sign", noSign)
	require.NoError(t, err)

	extension := func(id asn1.ObjectIdentifier, critical bool, value any) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = append(l.ExtraExtensions, ext(t, id, critical, value))
		}
	}
	entry := func(e x509.RevocationListEntry) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			e.SerialNumber, e.RevocationTime = big.NewInt(1), time.Now()
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, e)
		}
	}
	flag := func(tag int) asn1.RawValue {
		return asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: marshal(t, tagged(tag, false, []byte{0xff}))}
	}
	unknown := asn1.ObjectIdentifier{1, 2, 3}
	for name, tt := range map[string]struct {
		edit func(*x509.RevocationList)
		want error
		rule string
	}{
		"delta":              {edit: extension(oidDeltaIndicator, true, 1), want: ErrDelta},
		"indirect":           {edit: extension(oidDistributionPoint, true, flag(tagIndirectCRL)), want: ErrIndirect},
		"user certificates":  {edit: extension(oidDistributionPoint, true, flag(1)), want: ErrPartial},
		"CA certificates":    {edit: extension(oidDistributionPoint, true, flag(2)), want: ErrPartial},
		"attributes":         {edit: extension(oidDistributionPoint, true, flag(5)), want: ErrPartial},
		"point not critical": {edit: extension(oidDistributionPoint, false, flag(1)), want: ErrPartial},
		"certificate issuer": {edit: entry(x509.RevocationListEntry{ExtraExtensions: []pkix.Extension{ext(t, oidCertificateIssuer, true, 1)}}), want: ErrIndirect},
		"unknown critical":   {edit: extension(unknown, true, 1), rule: "crl-critical"},
		"unknown in entry":   {edit: entry(x509.RevocationListEntry{ExtraExtensions: []pkix.Extension{ext(t, unknown, true, 1)}}), rule: "crl-entry-critical"},
		"twice":              {edit: extension(oidCRLNumber, false, 1), rule: "crl-extensions"},
		"removeFromCRL":      {edit: entry(x509.RevocationListEntry{ReasonCode: reasonRemoveFromCRL}), rule: "crl-remove"},
		"in the future":      {edit: func(l *x509.RevocationList) { l.ThisUpdate = time.Now().Add(time.Minute) }, rule: "crl-this-update"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.InjectCRL(t.Context(), crlWith(t, a.lower, 1, tt.edit))
			require.ErrorAs(t, err, new(*CRLError))
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
				return
			}
			require.Equal(t, tt.rule, brokenRule(t, err))
		})
	}
	for name, list := range map[string]*x509.RevocationList{
		"stranger":        crlOf(t, testpki.NewRoot("stranger"), 1),
		"same name":       crlOf(t, testpki.NewRoot("acquirer root"), 1),
		"nil":             nil,
		"empty":           {},
		"bad signature":   {Raw: broken1(crlOf(t, a.root, 1).Raw)},
		"trailing":        {Raw: append(crlOf(t, a.root, 1).Raw, 0)},
		"too large":       {Raw: make([]byte, MaxCRLSize+1)},
		"not for cRLSign": signedAs(t, a.root, noSign),
	} {
		_, err := s.InjectCRL(t.Context(), list)
		require.ErrorAs(t, err, new(*CRLError), name)
	}
	require.Empty(t, s.CRLs())
}

// signedAs makes a CRL in the name of a CA that may not.
func signedAs(t *testing.T, ca *testpki.CA, name *x509.Certificate) *x509.RevocationList {
	able := *name
	able.KeyUsage |= x509.KeyUsageCRLSign
	return crlOf(t, &testpki.CA{Certificate: &able, Key: ca.Key}, 1)
}

func broken1(der []byte) []byte {
	der = append([]byte(nil), der...)
	der[len(der)-1] ^= 1
	return der
}

// A device error at each call leaves the old state or the new one, and the next
// try mends it.
func TestCRLCrash(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s := a.open(t, f)
	old, next := crlOf(t, a.root, 1), crlOf(t, a.root, 2, a.upper.Certificate)
	_, err := s.InjectCRL(t.Context(), old)
	require.NoError(t, err)
	for n := 1; ; n++ {
		require.Less(t, n, 40)
		f.arm(n)
		_, err := s.InjectCRL(t.Context(), next)
		done := f.calls < n
		f.arm(0)
		for _, reader := range []*Store{s, a.open(t, f)} {
			require.Len(t, reader.CRLs(), 1)
			require.NoError(t, reader.CRLs()[0].Err)
		}
		if done {
			require.NoError(t, err)
			break
		}
		require.Equal(t, s.CRLs()[0].Number, a.open(t, f).CRLs()[0].Number, "call %d", n)
		if s.CRLs()[0].Number.Int64() == 2 { // back to the old state
			require.NoError(t, s.RemoveCRL(t.Context(), s.CRLs()[0].ID))
			f.wipeData(t)
			s = a.open(t, f)
			_, err = s.InjectCRL(t.Context(), old)
			require.NoError(t, err)
		}
	}
	require.Len(t, f.data(t), 2)
}

func TestCRLNotStored(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s := a.open(t, f)
	f.forget = true
	_, err := s.InjectCRL(t.Context(), crlOf(t, a.root, 1))
	require.ErrorIs(t, err, ErrNotStored)
	require.ErrorIs(t, s.Deny(t.Context(), a.upper.Certificate, ""), ErrNotStored)
	require.Empty(t, s.CRLs())
	require.Empty(t, s.Denied())
	f.forget, f.public = false, true
	c, err := s.InjectCRL(t.Context(), crlOf(t, a.root, 1))
	require.NoError(t, err)
	require.False(t, c.Private)
	require.Len(t, f.data(t), 1, "a record that anybody can write is none")
	require.ErrorIs(t, s.Deny(t.Context(), a.upper.Certificate, ""), ErrPublic)
	require.Len(t, f.data(t), 1)
	require.NoError(t, s.RemoveCRL(t.Context(), c.ID))
	require.Empty(t, s.CRLs())
	require.Empty(t, f.data(t))
}

// One object of some megabytes goes through a token.
func TestLargeCRL(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	s := a.open(t, f)
	c, err := s.InjectCRL(t.Context(), manySerials(t, a.root, 100_000))
	require.NoError(t, err)
	require.Equal(t, 100_000, c.Revoked)
	require.Equal(t, 100_000, a.open(t, f).CRLs()[0].Revoked)
}

func manySerials(t testing.TB, ca *testpki.CA, n int) *x509.RevocationList {
	return crlWith(t, ca, 1, func(l *x509.RevocationList) {
		for i := range n {
			serial := new(big.Int).Lsh(big.NewInt(int64(i+1)), 96)
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now()})
		}
	})
}

func (f *faulty) Data(ctx context.Context, filter p11.DataFilter) ([]p11.Data, error) {
	if err := f.call(); err != nil {
		return nil, err
	}
	return f.device.Data(ctx, filter)
}

func (f *faulty) CreateData(ctx context.Context, d p11.DataTemplate) (p11.Data, error) {
	if err := f.call(); err != nil {
		return p11.Data{}, err
	}
	d.Private = d.Private && !f.public
	made, err := f.device.CreateData(ctx, d)
	if f.forget && err == nil {
		err = f.device.Destroy(ctx, made.Object)
	}
	return made, err
}

// data lists the data objects on the token.
func (f *faulty) data(t *testing.T) (labels []string) {
	t.Helper()
	found, err := f.device.Data(t.Context(), p11.DataFilter{})
	require.NoError(t, err)
	for _, d := range found {
		labels = append(labels, d.Label)
	}
	return labels
}

func (f *faulty) wipeData(t *testing.T) {
	t.Helper()
	found, err := f.device.Data(t.Context(), p11.DataFilter{})
	require.NoError(t, err)
	for _, d := range found {
		require.NoError(t, f.device.Destroy(t.Context(), d.Object))
	}
}

// plantData writes an object as somebody would who has no PIN.
func (f *faulty) plantData(t *testing.T, label string, value []byte) {
	t.Helper()
	_, err := f.device.CreateData(t.Context(), p11.DataTemplate{Label: label, Application: alias.Application, Value: value})
	require.NoError(t, err)
}
