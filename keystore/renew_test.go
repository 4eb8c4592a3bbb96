// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// later is a client certificate that outlives those of [issue].
func later(name string) *x509.Certificate {
	t := testpki.ClientTemplate(name)
	t.NotBefore = time.Now().Add(-time.Minute)
	t.NotAfter = time.Now().Add(2 * 365 * 24 * time.Hour)
	return t
}

// answering is a CA that answers with what template says, for the key that asks.
func answering(ca *testpki.CA, template *x509.Certificate) func(context.Context, []byte) ([]*x509.Certificate, error) {
	return func(_ context.Context, der []byte) ([]*x509.Certificate, error) {
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return nil, err
		}
		return append([]*x509.Certificate{ca.Issue(template, csr.PublicKey)}, ca.Chain()...), nil
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, old := identity(t, s, "terminal_pub", "terminal")
	before := len(contents(t, s.device))
	var asked *x509.CertificateRequest
	renewed, err := s.Renew(t.Context(), "terminal_pub", Renewal{}, func(ctx context.Context, der []byte) ([]*x509.Certificate, error) {
		csr, err := x509.ParseCertificateRequest(der)
		require.NoError(t, err)
		require.NoError(t, csr.CheckSignature())
		asked = csr
		return answering(authority(), later("terminal_pub"))(ctx, der)
	})
	require.NoError(t, err)
	require.Equal(t, old[0].RawSubject, asked.RawSubject)
	require.Equal(t, old[0].DNSNames, asked.DNSNames)
	require.True(t, samePublic(asked.PublicKey, old[0].PublicKey))

	require.False(t, renewed.Chain[0].Equal(old[0]))
	now, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, renewed.Chain, now.Chain)
	require.Equal(t, old[1:], now.Chain[1:], "the issuer is not replaced")
	require.Len(t, contents(t, s.device), before, "the old one is gone")
}

// TestRenewAsksForTheSameNames has names of forms that crypto/x509 does not read,
// and a subject in an encoding that it does not write.
func TestRenewAsksForTheSameNames(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := generate(t, s, "terminal")
	subject, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte("t")}}}})
	require.NoError(t, err)
	names, err := asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: tagDNS, Bytes: []byte("t.example")},
		{Class: asn1.ClassContextSpecific, Tag: tagEmail, Bytes: []byte("t@example")},
		{Class: asn1.ClassContextSpecific, Tag: 8, Bytes: []byte{0x2a, 3}}, // registeredID
	})
	require.NoError(t, err)
	template := later("")
	template.RawSubject, template.DNSNames = subject, nil
	template.ExtraExtensions = []pkix.Extension{{Id: oidAlternativeNames, Value: names}}
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", []*x509.Certificate{authority().Issue(template, key.Public())}))

	der, err := s.RequestRenewal(t.Context(), "terminal_pub", Renewal{})
	require.NoError(t, err)
	csr, err := x509.ParseCertificateRequest(der)
	require.NoError(t, err)
	require.Equal(t, subject, csr.RawSubject)
	require.Equal(t, names, extensionOf(csr))
}

func extensionOf(csr *x509.CertificateRequest) []byte {
	return extension(&x509.Certificate{Extensions: csr.Extensions}, oidAlternativeNames)
}

// TestRenewInTwoSteps answers a request by way of bytes, and accepts the answer
// twice, once after another Store has read the token.
func TestRenewInTwoSteps(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, old := identity(t, s, "terminal_pub", "terminal")
	der, err := s.RequestRenewal(t.Context(), "terminal_pub", Renewal{})
	require.NoError(t, err)
	answer, err := answering(authority(), later("terminal_pub"))(t.Context(), der)
	require.NoError(t, err)

	tomorrow := newStore(s.device)
	for range 2 {
		id, err := tomorrow.AcceptRenewal(t.Context(), "terminal_pub", Renewal{}, answer[:1])
		require.NoError(t, err)
		require.Equal(t, answer, id.Chain, "completed from the token")
	}
	_, err = tomorrow.AcceptRenewal(t.Context(), "terminal_pub", Renewal{}, old)
	require.ErrorIs(t, err, ErrNotLater)
	_, err = tomorrow.AcceptRenewal(t.Context(), "terminal_pub", Renewal{AllowEarlier: true}, old)
	require.NoError(t, err, "back to the old one, by name")
}

func TestRenewRefuses(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, old := identity(t, s, "terminal_pub", "terminal")
	before := contents(t, s.device)
	stranger := testpki.NewRoot("acquirer root").NewIntermediate("acquirer issuing") // by the same names
	change := func(f func(*x509.Certificate)) *x509.Certificate {
		template := later("terminal_pub")
		f(template)
		return template
	}
	tests := []struct {
		name   string
		ca     *testpki.CA
		answer *x509.Certificate
		want   error
	}{
		{"another CA of the same name", stranger, later("terminal_pub"), ErrIssuer},
		{"ends no later", authority(), change(func(c *x509.Certificate) { c.NotAfter = old[0].NotAfter }), ErrNotLater},
		{"begins earlier", authority(), change(func(c *x509.Certificate) { c.NotBefore = old[0].NotBefore.Add(-time.Second) }), ErrNotLater},
		{"another subject", authority(), change(func(c *x509.Certificate) { c.Subject.CommonName = "terminal_pub2" }), ErrWider},
		{"another name", authority(), change(func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "more.example") }), ErrWider},
		{"a wildcard", authority(), change(func(c *x509.Certificate) { c.DNSNames = []string{"*.test"} }), ErrWider},
		{"an address", authority(), change(func(c *x509.Certificate) { c.IPAddresses = append(c.IPAddresses, []byte{192, 0, 2, 1}) }), ErrWider},
		{"server too", authority(), change(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }), ErrWider},
		{"any usage", authority(), change(func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }), ErrWider},
		{"no usage", authority(), change(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), ErrWider},
		{"unknown usage", authority(), change(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }), ErrWider},
		{"key usage", authority(), change(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageDataEncipherment }), ErrWider},
		{"a CA", authority(), change(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), ErrChain},
	}
	for _, tt := range tests {
		_, err := s.Renew(t.Context(), "terminal_pub", Renewal{}, answering(tt.ca, tt.answer))
		require.ErrorIs(t, err, tt.want, tt.name)
		var chain *ChainError
		require.ErrorAs(t, err, &chain, tt.name)
	}
	require.Equal(t, before, contents(t, s.device))
	id, err := s.Identity(t.Context(), "terminal_pub")
	require.NoError(t, err)
	require.Equal(t, old, id.Chain)
}

func TestRenewRefusesOtherAnswers(t *testing.T) {
	t.Parallel()
	s := open(t)
	key, old := identity(t, s, "terminal_pub", "terminal")
	before := contents(t, s.device)
	errCA := errors.New("the CA is closed")
	early := later("terminal_pub")
	early.NotBefore = time.Now().Add(time.Hour)
	var invalid x509.CertificateInvalidError
	_, err := s.Renew(t.Context(), "terminal_pub", Renewal{}, answering(authority(), early))
	require.ErrorAs(t, err, &invalid)
	for want, answer := range map[error][]*x509.Certificate{
		ErrMismatch: {authority().Issue(later("terminal_pub"), newP256(t).Public())},
		ErrNotLater: old,
		ErrChain:    nil,
	} {
		_, err := s.Renew(t.Context(), "terminal_pub", Renewal{}, func(context.Context, []byte) ([]*x509.Certificate, error) { return answer, nil })
		require.ErrorIs(t, err, want)
	}
	_, err = s.Renew(t.Context(), "terminal_pub", Renewal{}, func(context.Context, []byte) ([]*x509.Certificate, error) { return nil, errCA })
	require.ErrorIs(t, err, errCA)
	_, err = s.Renew(t.Context(), "terminal_pub", Renewal{}, nil)
	require.ErrorIs(t, err, ErrUnsupported)
	_, err = s.Renew(t.Context(), "nobody", Renewal{}, answering(authority(), later("nobody")))
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.AcceptRenewal(t.Context(), "terminal_pub", Renewal{}, []*x509.Certificate{nil})
	require.ErrorIs(t, err, ErrChain)
	_, err = s.AcceptRenewal(t.Context(), "terminal_pub", Renewal{Issuers: []*x509.Certificate{nil}}, old)
	require.ErrorIs(t, err, ErrChain)
	_, err = new(Store).RequestRenewal(t.Context(), "terminal_pub", Renewal{})
	require.Error(t, err)
	require.Equal(t, before, contents(t, s.device))
	require.NotNil(t, key)
}

// TestRenewSaidByName admits each of the things that TestRenewRefuses refuses.
func TestRenewSaidByName(t *testing.T) {
	t.Parallel()
	s := open(t)
	identity(t, s, "terminal_pub", "terminal")
	other := testpki.NewRoot("other root").NewIntermediate("other upper").NewIntermediate("other issuing")
	uri, err := url.Parse("spiffe://example/t")
	require.NoError(t, err)
	request := Request{Subject: pkix.Name{CommonName: "t"}, DNSNames: []string{"More.example"}, URIs: []*url.URL{uri}}
	template := later("t")
	template.Subject, template.DNSNames, template.URIs = request.Subject, []string{"more.example"}, request.URIs
	template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	template.NotAfter = time.Now().Add(time.Hour)
	r := Renewal{
		Request: &request, Issuers: other.Chain(), AllowEarlier: true,
		Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageKeyEncipherment,
	}
	id, err := s.Renew(t.Context(), "terminal_pub", r, func(ctx context.Context, der []byte) ([]*x509.Certificate, error) {
		csr, err := x509.ParseCertificateRequest(der)
		require.NoError(t, err)
		require.Equal(t, request.DNSNames, csr.DNSNames)
		answer, err := answering(other, template)(ctx, der)
		return answer[:1], err
	})
	require.NoError(t, err)
	require.Equal(t, other.Chain(), id.Chain[1:], "completed from Issuers")
	_, err = s.RequestRenewal(t.Context(), "terminal_pub", Renewal{Request: &Request{}})
	require.Error(t, err)
}

// TestRenewWithoutIssuer has no issuer on the token: the answer must bring one
// that has signed both.
func TestRenewWithoutIssuer(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := generate(t, s, "terminal")
	old := issue(authority(), "terminal_pub", key.Public())[:1]
	require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", old))
	answer := append([]*x509.Certificate{authority().Issue(later("terminal_pub"), key.Public())}, authority().Chain()...)
	_, err := s.AcceptRenewal(t.Context(), "terminal_pub", Renewal{}, answer[:1])
	require.ErrorIs(t, err, ErrIssuer)
	id, err := s.AcceptRenewal(t.Context(), "terminal_pub", Renewal{}, answer)
	require.NoError(t, err)
	require.Equal(t, answer, id.Chain)
}

// TestRenewAuthority renews a CA, whose bounds must stay.
func TestRenewAuthority(t *testing.T) {
	t.Parallel()
	s := open(t)
	key := generate(t, s, "pairing")
	template := func(change func(*x509.Certificate)) *x509.Certificate {
		c := &x509.Certificate{
			Subject: pkix.Name{CommonName: "pairing CA"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
			PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"pos.example"}, NotAfter: time.Now().Add(24 * time.Hour),
		}
		change(c)
		return authority().Issue(c, key.Public())
	}
	same := func(*x509.Certificate) {}
	require.NoError(t, s.InjectAuthority(t.Context(), "pairing_ca", "pairing", []*x509.Certificate{template(same), authority().Certificate}))
	for name, change := range map[string]func(*x509.Certificate){
		"deeper":   func(c *x509.Certificate) { c.MaxPathLenZero, c.MaxPathLen = false, 1 },
		"unbound":  func(c *x509.Certificate) { c.MaxPathLenZero, c.MaxPathLen = false, -1 },
		"anywhere": func(c *x509.Certificate) { c.PermittedDNSDomains = nil },
	} {
		answer := template(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(48 * time.Hour); change(c) })
		_, err := s.AcceptRenewal(t.Context(), "pairing_ca", Renewal{}, []*x509.Certificate{answer})
		require.ErrorIs(t, err, ErrWider, name)
	}
	answer := template(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(48 * time.Hour) })
	id, err := s.AcceptRenewal(t.Context(), "pairing_ca", Renewal{}, []*x509.Certificate{answer})
	require.NoError(t, err)
	require.Equal(t, answer, id.Chain[0])
}

// TestRenewOldOrNew breaks the token at every call.
func TestRenewOldOrNew(t *testing.T) {
	t.Parallel()
	eachCall(t, allFailures, func(t *testing.T, s *Store, key *Key, broken *Store) error {
		old := issue(authority(), "terminal_pub", key.Public())
		require.NoError(t, s.Inject(t.Context(), "terminal_pub", "terminal", old))
		answer := append([]*x509.Certificate{authority().Issue(later("terminal_pub"), key.Public())}, authority().Chain()...)
		_, err := broken.AcceptRenewal(t.Context(), "terminal_pub", Renewal{}, answer)
		id, found := newStore(s.device).Identity(t.Context(), "terminal_pub")
		require.NoError(t, found, "never a moment without either")
		if id.Chain[0].Equal(old[0]) {
			require.ErrorIs(t, err, errBroken)
		} else {
			require.Equal(t, answer, id.Chain)
		}
		_, again := s.AcceptRenewal(t.Context(), "terminal_pub", Renewal{}, answer)
		require.NoError(t, again)
		require.NoError(t, s.DeleteCertificate(t.Context(), "terminal_pub"))
		return err
	})
}
