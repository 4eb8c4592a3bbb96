// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"
	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A notary signs what it endorses.
type notary struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// notaryTemplate is a certificate that may endorse and nothing else.
func notaryTemplate() *x509.Certificate {
	template := testpki.ClientTemplate("notary.example.com")
	template.DNSNames, template.ExtKeyUsage = nil, nil
	template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidDocumentSigning}
	return template
}

func newNotary(ca *testpki.CA, edit func(*x509.Certificate)) notary {
	template, key := notaryTemplate(), rsa2048()
	edit(template)
	return notary{ca.Issue(template, key.Public()), key}
}

// sign makes an endorsement of content. Edit may spoil it before it is signed.
func (n notary) sign(t *testing.T, content []byte, edit func(*pkcs7.SignedData), chain ...*x509.Certificate) []byte {
	t.Helper()
	s, err := pkcs7.NewSignedData(content)
	require.NoError(t, err)
	s.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	edit(s)
	require.NoError(t, s.AddSignerChain(n.cert, n.key, chain, pkcs7.SignerInfoConfig{}))
	s.Detach()
	der, err := s.Finish()
	require.NoError(t, err)
	return der
}

func plain(*pkcs7.SignedData) {}

func (a acquirer) vouchers(t *testing.T) *anchors {
	t.Helper()
	checked, err := a.config().Anchors.checked()
	require.NoError(t, err)
	return checked
}

func TestEndorse(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	host := testpki.NewRoot("public root").Server("host.example.com").Leaf
	direct := newNotary(a.root, same)
	path, err := endorse(host, direct.sign(t, host.Raw, plain), issuers{}, a.vouchers(t), time.Now())
	require.NoError(t, err)
	require.Equal(t, certs(direct.cert, a.root.Certificate), path)

	deep := newNotary(a.lower, same)
	path, err = endorse(host, deep.sign(t, host.Raw, plain, a.lower.Certificate, a.upper.Certificate), issuers{}, a.vouchers(t), time.Now())
	require.NoError(t, err)
	require.Len(t, path, 4)

	meant := caWith(a.root, func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidDocumentSigning} })
	_, err = endorse(host, newNotary(meant, same).sign(t, host.Raw, plain, meant.Certificate), issuers{}, a.vouchers(t), time.Now())
	require.NoError(t, err)
}

func TestEndorseRefuses(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	public, stranger, pos := testpki.NewRoot("public root"), testpki.NewRoot("stranger"), testpki.NewRoot("pairing")
	vouchers, err := Anchors{Acquirer: certs(a.root.Certificate), Pairing: certs(pos.Certificate)}.checked()
	require.NoError(t, err)
	host, other := public.Server("host.example.com").Leaf, public.Server("other.example.com").Leaf
	good := newNotary(a.root, same)
	sha1 := func(s *pkcs7.SignedData) { s.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA1) }
	attached := func() []byte {
		s, err := pkcs7.NewSignedData(host.Raw)
		require.NoError(t, err)
		s.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
		require.NoError(t, s.AddSigner(good.cert, good.key, pkcs7.SignerInfoConfig{}))
		der, err := s.Finish()
		require.NoError(t, err)
		return der
	}
	bare := func() []byte {
		s, err := pkcs7.NewSignedData(host.Raw)
		require.NoError(t, err)
		s.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
		require.NoError(t, s.SignWithoutAttr(good.cert, good.key, pkcs7.SignerInfoConfig{}))
		s.Detach()
		der, err := s.Finish()
		require.NoError(t, err)
		return der
	}
	expired := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Minute)
	}
	signer := func(ca *testpki.CA, edit func(*x509.Certificate)) []byte {
		return newNotary(ca, edit).sign(t, host.Raw, plain, ca.Certificate)
	}
	for _, tt := range []struct {
		name string
		cert *x509.Certificate
		cms  []byte
		want any // an error, or the name of a rule
	}{
		{"nothing", host, nil, ErrEndorsement},
		{"no CMS", host, []byte("endorsed"), ErrEndorsement},
		{"too long", host, make([]byte, maxEndorsement+1), ErrEndorsement},
		{"of another certificate", other, good.sign(t, host.Raw, plain), ErrEndorsement},
		{"attached", host, attached(), ErrEndorsement},
		{"without signed attributes", host, bare(), ErrEndorsement},
		{"SHA-1", host, good.sign(t, host.Raw, sha1), ErrEndorsement},
		{"by a stranger", host, signer(stranger, same), x509.UnknownAuthorityError{}},
		{"by the pairing CA", host, signer(pos, same), ErrPairing},
		{"by a server", host, signer(a.root, func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), "endorser-eku"},
		{"by who may do more", host, signer(a.root, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), "endorser-eku"},
		{"below a CA for clients", host, signer(caWith(a.root, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), same), x509.CertificateInvalidError{}},
		{"by a CA", host, signer(a.root, func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = true, true }), "leaf-ca"},
		{"by who was out of date", host, signer(a.root, expired), ErrEndorsement},
		{"of a client", public.Client("till").Leaf, good.sign(t, host.Raw, plain), x509.CertificateInvalidError{}},
		{"of a CA", public.Certificate, good.sign(t, public.Certificate.Raw, plain), "leaf-ca"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := endorse(tt.cert, tt.cms, issuers{}, vouchers, time.Now())
			var refusal *RejectedError
			require.ErrorAs(t, err, &refusal)
			switch want := tt.want.(type) {
			case string:
				require.Equal(t, want, brokenRule(t, err))
			case x509.UnknownAuthorityError, x509.CertificateInvalidError:
				require.IsType(t, want, refusal.Err)
			case error:
				require.ErrorIs(t, err, want)
			}
		})
	}
}

// An endorsement ends with the certificate of who has signed it.
func TestEndorsementEnds(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	host := testpki.NewRoot("public root").Server("host.example.com").Leaf
	n := newNotary(a.root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) })
	cms := n.sign(t, host.Raw, plain)
	_, err := endorse(host, cms, issuers{}, a.vouchers(t), time.Now().Add(30*time.Minute))
	require.NoError(t, err)
	_, err = endorse(host, cms, issuers{}, a.vouchers(t), time.Now().Add(2*time.Hour))
	var invalid x509.CertificateInvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, n.cert, invalid.Cert)
}

// What docs tell an acquirer to run.
func TestEndorseByOpenSSL(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	host := testpki.NewRoot("public root").Server("host.example.com").Leaf
	n := newNotary(a.root, same)
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(n.key)
	require.NoError(t, err)
	for name, data := range map[string][]byte{"host.der": host.Raw, "notary.pem": testpki.PEM(n.cert), "notary.key": key} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	cmd := exec.Command("openssl", "cms", "-sign", "-binary", "-in", "host.der", "-md", "sha256",
		"-signer", "notary.pem", "-inkey", "notary.key", "-keyform", "DER", "-outform", "DER", "-out", "host.p7s")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	cms, err := os.ReadFile(filepath.Join(dir, "host.p7s"))
	require.NoError(t, err)
	_, err = endorse(host, cms, issuers{}, a.vouchers(t), time.Now())
	require.NoError(t, err)
}

func FuzzEndorsement(f *testing.F) {
	a := newAcquirer()
	host := testpki.NewRoot("public root").Server("host.example.com").Leaf
	n := newNotary(a.root, same)
	s, _ := pkcs7.NewSignedData(host.Raw)
	s.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	_ = s.AddSigner(n.cert, n.key, pkcs7.SignerInfoConfig{})
	s.Detach()
	good, _ := s.Finish()
	f.Add(good)
	f.Add([]byte{})
	vouchers, _ := a.config().Anchors.checked()
	f.Fuzz(func(t *testing.T, cms []byte) {
		path, err := endorse(host, cms, issuers{}, vouchers, time.Now())
		if err == nil {
			require.Equal(t, n.cert, path[0])
		}
	})
}
