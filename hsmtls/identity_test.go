// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestIdentityRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.root.Client("terminal 1")
	tests := []struct {
		name string
		cert *tls.Certificate
		want error
	}{
		{"nil certificate", nil, errNoCertificate},
		{"empty certificate", &tls.Certificate{}, errNoCertificate},
		{"no key", &tls.Certificate{Certificate: good.Certificate}, errNotSigner},
		{"a key of another certificate", &tls.Certificate{Certificate: good.Certificate, PrivateKey: newECKey(t)}, errKeyMismatch},
		{"only weak schemes", &tls.Certificate{
			Certificate: good.Certificate, PrivateKey: good.PrivateKey,
			SupportedSignatureAlgorithms: []tls.SignatureScheme{tls.ECDSAWithSHA1},
		}, errNoScheme},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &Provider{Keys: oneKey{tt.cert}, Trust: w.trust}
			_, err := p.ClientConfig(t.Context(), terminal)
			require.ErrorIs(t, err, ErrIncomplete)
			require.ErrorIs(t, err, tt.want)
		})
	}
	t.Run("weak chain", func(t *testing.T) {
		t.Parallel()
		key := shortRSA{}
		leaf := w.root.Issue(testpki.ClientTemplate("terminal 1"), key.Public())
		p := &Provider{Keys: oneKey{&tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}, Trust: w.trust}
		_, err := p.ClientConfig(t.Context(), terminal)
		require.ErrorIs(t, err, ErrIncomplete)
		requireRule(t, err, RuleCertificateKey)
	})
}

// TestIdentityLeavesKeysAlone shows that the certificate of Keys is not changed.
func TestIdentityLeavesKeysAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cert, err := w.keys.Certificate(t.Context(), terminal)
	require.NoError(t, err)
	before := *cert
	_, err = w.client.ClientConfig(t.Context(), terminal)
	require.NoError(t, err)
	require.Equal(t, before, *cert)
}

// TestRenewal shows that a dial uses a renewed certificate at once.
func TestRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.listen(t)
	for _, name := range []string{"terminal 1", "terminal 1 renewed"} {
		w.keys.set(terminal, w.root.Client(name))
		for range 2 {
			conn, err := w.dial(t, s)
			require.NoError(t, err)
			ping(t, conn)
			require.Equal(t, name, (<-s.state).PeerCertificates[0].Subject.CommonName)
		}
	}
}

func TestCheckChain(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("Root")
	good := root.NewIntermediate("Hosts").Server("a.example").Leaf
	require.NoError(t, checkChain([]*x509.Certificate{good, root.Certificate}))

	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	tests := []struct {
		name string
		cert *x509.Certificate
		want Rule
	}{
		{"SHA-1 with RSA", signedWith(good, x509.SHA1WithRSA), RuleCertificateSignature},
		{"MD5 with RSA", signedWith(good, x509.MD5WithRSA), RuleCertificateSignature},
		{"SHA-1 with ECDSA", signedWith(good, x509.ECDSAWithSHA1), RuleCertificateSignature},
		{"unknown algorithm", signedWith(good, x509.UnknownSignatureAlgorithm), RuleCertificateSignature},
		{"RSA of 1024 bits", withKey(good, shortRSA{}.Public()), RuleCertificateKey},
		{"RSA of 8193 bits", withKey(good, longRSA()), RuleCertificateKey},
		{"P-224", withKey(good, p224.Public()), RuleCertificateKey},
		{"Ed25519", withKey(good, ed), RuleCertificateKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			requireRule(t, checkChain([]*x509.Certificate{tt.cert}), tt.want)
			requireRule(t, checkChain([]*x509.Certificate{good, tt.cert}), tt.want)
		})
	}
	long := make([]*x509.Certificate, maxChain+1)
	for i := range long {
		long[i] = good
	}
	requireRule(t, checkChain(long), RuleChainLength)
	require.NoError(t, checkChain([]*x509.Certificate{withKey(good, rsaKey(t, 2048).Public())}))
}

// TestWeakPeerChain shows that a weak certificate is refused even if Trust
// accepts it, in either role.
func TestWeakPeerChain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	weak := signedWith(w.root.Server("127.0.0.1").Leaf, x509.SHA1WithRSA)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		_, err := w.client.verifyPeer(tls.ConnectionState{PeerCertificates: []*x509.Certificate{weak}}, "127.0.0.1", usage)
		requireRule(t, err, RuleCertificateSignature)
	}
	require.Zero(t, w.trust.calls.Load())

	leaf := w.root.Server("127.0.0.1").Leaf
	w.client.Trust = fixedTrust{leaf, signedWith(w.root.Certificate, x509.MD5WithRSA)}
	_, err := w.client.verifyPeer(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, "127.0.0.1", x509.ExtKeyUsageServerAuth)
	requireRule(t, err, RuleCertificateSignature)
}

// TestNoPeerCertificate covers what crypto/tls itself never lets happen.
func TestNoPeerCertificate(t *testing.T) {
	t.Parallel()
	_, err := newWorld(t).client.verifyPeer(tls.ConnectionState{}, host, x509.ExtKeyUsageServerAuth)
	requireRule(t, err, RulePeer)
}
