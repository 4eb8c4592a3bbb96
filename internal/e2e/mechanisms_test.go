// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsmtls"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// The lists of mechanisms of tokens that can do less.
const (
	withoutPSS   = "slots.mechanisms = CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS,CKM_SHA256_RSA_PKCS,CKM_SHA384_RSA_PKCS,CKM_SHA512_RSA_PKCS"
	hashesItself = "slots.mechanisms = CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_SHA256_RSA_PKCS"
	onlyPSS      = "slots.mechanisms = CKM_RSA_PKCS_KEY_PAIR_GEN,CKM_RSA_PKCS_PSS"
)

// pss256 is what crypto/tls asks for under rsa_pss_rsae_sha256.
var pss256 = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}

// limitedTokens are tokens with a list, what TLS may use of their keys, and what
// then is used.
var limitedTokens = map[string]struct {
	list    string
	schemes []tls.SignatureScheme
	request x509.SignatureAlgorithm
	digests bool // the token signs digests
}{
	"without PSS": {
		withoutPSS, []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}, x509.SHA256WithRSA, true,
	},
	"hashes itself": {hashesItself, []tls.SignatureScheme{tls.PKCS1WithSHA256}, x509.SHA256WithRSA, false},
	"only PSS": {
		onlyPSS, []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}, x509.SHA256WithRSAPSS, true,
	},
}

// TestLimitedTokens goes the whole way, certificate request and both roles, with
// tokens that lack mechanisms: the scheme follows from what the token has.
func TestLimitedTokens(t *testing.T) {
	t.Parallel()
	for name, tt := range limitedTokens {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStation(t, setup{typ: keystore.RSA2048, lines: []string{tt.list}})
			for _, alias := range []string{terminal, acquirer} {
				require.Equal(t, tt.request, s.csrs[alias].SignatureAlgorithm)
				cert, err := s.keys.Certificate(t.Context(), alias)
				require.NoError(t, err)
				require.Equal(t, tt.schemes, cert.SupportedSignatureAlgorithms)
				s.requireDigests(t, cert, tt.schemes[0], tt.digests)
			}
			s.ResetCalls()

			server := s.listen(t, s.p)
			conn, err := s.dial(t.Context(), s.p, server.addr)
			require.NoError(t, err)
			report, err := hsmtls.Report(conn)
			require.NoError(t, err)
			require.Contains(t, tt.schemes, report.ServerSignature)
			require.Contains(t, tt.schemes, report.ClientSignature)
			s.requireSignatures(t, 2)
			t.Run("client", s.clientSide)
			t.Run("server", s.serverSide)
		})
	}
}

// requireDigests asserts that the key signs messages, and digests or not.
func (s *station) requireDigests(t *testing.T, cert *tls.Certificate, scheme tls.SignatureScheme, digests bool) {
	t.Helper()
	key, ok := cert.PrivateKey.(crypto.MessageSigner)
	require.True(t, ok)
	var opts crypto.SignerOpts = crypto.SHA256
	if scheme == tls.PSSWithSHA256 {
		opts = pss256
	}
	message := []byte("message")
	sig, err := key.SignMessage(nil, message, opts)
	require.NoError(t, err)
	requireSignature(t, cert, scheme, message, sig)

	digest := sha256.Sum256(message)
	s.ResetCalls()
	sig, err = key.Sign(nil, digest[:], opts)
	if !digests {
		require.ErrorIs(t, err, keystore.ErrUnsupported)
		require.Zero(t, s.Total(), "the token is not asked for what it cannot do")
		return
	}
	require.NoError(t, err)
	requireSignature(t, cert, scheme, message, sig)
}

func requireSignature(t *testing.T, cert *tls.Certificate, scheme tls.SignatureScheme, message, sig []byte) {
	t.Helper()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	algorithm := x509.SHA256WithRSA
	if scheme == tls.PSSWithSHA256 {
		algorithm = x509.SHA256WithRSAPSS
	}
	require.NoError(t, leaf.CheckSignature(algorithm, message, sig))
}

// TestNoCommonScheme is a token without PSS before a peer that takes nothing
// else: there is no connection, and the token is not asked. The errors are
// crypto/tls's, which have no type.
func TestNoCommonScheme(t *testing.T) {
	t.Parallel()
	s := newStation(t, setup{typ: keystore.RSA2048, lines: []string{withoutPSS}})
	t.Run("server", func(t *testing.T) {
		program, server := openssl(t), s.listen(t, s.p)
		args := append([]string{"s_client", "-connect", server.addr, "-sigalgs", "RSA-PSS+SHA256"}, s.files(t, s.devices.Client("terminal 2"))...)
		_, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
		require.ErrorAs(t, err, new(*exec.ExitError))
		require.Error(t, (<-server.results).err)
		s.requireSignatures(t, 0)
	})
	t.Run("client", func(t *testing.T) {
		addr := s.opensslServer(t, "-client_sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256")
		_, err := s.dial(t.Context(), s.p, addr)
		require.Error(t, err)
		s.requireSignatures(t, 0)
	})
}

// TestHiddenMechanisms is a token that lists less than its library does.
func TestHiddenMechanisms(t *testing.T) {
	t.Parallel()
	s := newStation(t, setup{typ: keystore.RSA2048, hide: []p11.Mechanism{
		p11.RSAPKCSPSS, p11.SHA256RSAPSS, p11.SHA384RSAPSS, p11.SHA512RSAPSS,
	}})
	require.False(t, s.token.Device().Mechanisms().Has(p11.RSAPKCSPSS))
	s.bothSides(t)
}
