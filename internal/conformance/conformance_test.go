// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package conformance_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/conformance"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// wrongPIN has the length of the right one, and is the one of no token.
var wrongPIN = hsmtest.Secret("654321")

// everything is what works on a token that can do all this library uses.
var everything = []string{
	"key p256", "key rsa2048", "key rsa3072", "key p384", "key rsa4096", "attestation of keys",
	"sign PKCS #1 v1.5, SHA-256", "sign PKCS #1 v1.5, SHA-384", "sign PKCS #1 v1.5, SHA-512",
	"sign PSS, SHA-256", "sign PSS, SHA-384", "sign PSS, SHA-512", "sign ECDSA, SHA-256", "sign ECDSA, SHA-384",
	"certificate requests", "identity: inject", "identity: replace", "identity: delete",
	"trust: inject", "trust: read and refresh", "trust: remove",
	"handshake, both sides p256", "handshake, both sides rsa2048", "handshake, both sides rsa3072",
	"handshake, both sides p384", "handshake, both sides rsa4096",
	"second Open", "second Open with a wrong PIN", "use after Close", "Open with a wrong PIN", "Open again", "key: delete",
}

// requireAll asserts that everything works but for what is named.
func requireAll(t *testing.T, r conformance.Result, but map[string]conformance.Outcome) {
	t.Helper()
	t.Log("\n" + r.String())
	for _, feature := range everything {
		want, ok := but[feature]
		if !ok {
			want = conformance.Works
		}
		row := r.Of(feature)
		require.Equal(t, want.String(), row.Outcome.String(), "%s: %s", feature, row.Why)
	}
}

// TestToken tries the token that the environment names, if HSMTLS_CONFORMANCE
// is set, and a token on SoftHSM otherwise.
func TestToken(t *testing.T) {
	if os.Getenv("HSMTLS_CONFORMANCE") == "" {
		r := conformance.Run(t, conformance.Subject{Config: hsmtest.Config(t), WrongPIN: wrongPIN})
		requireAll(t, r, nil)
		return
	}
	cfg, err := hsm.ConfigFromEnv()
	require.NoError(t, err)
	s := conformance.Subject{Config: cfg}
	if os.Getenv("HSMTLS_CONFORMANCE_WRONG_PIN") != "" {
		s.WrongPIN = hsm.PINEnv("HSMTLS_CONFORMANCE_WRONG_PIN")
	}
	t.Log("\n" + conformance.Run(t, s).String())
}

// TestNetwork tries SoftHSM through p11-kit's remoting, which passes on a part of
// the mechanisms only.
func TestNetwork(t *testing.T) {
	n := hsmtest.P11Kit(t)
	lose := func() { n.Kill9(); n.Start() }
	r := conformance.Run(t, conformance.Subject{Config: n.Config(), Lose: lose, WrongPIN: wrongPIN})
	requireAll(t, r, nil)
	require.Equal(t, conformance.Works, r.Of("recovery after lost sessions").Outcome)
}

// TestModest tries a token that has one session, knows no attribute that is
// younger than PKCS#11 2.20, nor private certificates, and takes CKA_VERIFY for a
// defect.
func TestModest(t *testing.T) {
	t.Parallel()
	const certificate, private, trusted, category, verify, destroyable, copyable = 1, 0x02, 0x86, 0x87, 0x10a, 0x172, 0x171
	m := faultp11.New(t)
	cfg := m.Config(t)
	m.MaxSessions(1)
	m.Refuse(
		faultp11.Refusal{Attribute: private, Classes: []uint{certificate}, Code: faultp11.TemplateInconsistent, OnlyTrue: true},
		faultp11.Refusal{Attribute: verify, Code: faultp11.GeneralError, OnlyTrue: true},
		faultp11.Refusal{Attribute: trusted}, faultp11.Refusal{Attribute: category},
		faultp11.Refusal{Attribute: destroyable}, faultp11.Refusal{Attribute: copyable},
	)
	r := conformance.Run(t, conformance.Subject{Config: cfg, Lose: m.LoseSessions, WrongPIN: wrongPIN})
	requireAll(t, r, map[string]conformance.Outcome{"trust: inject": conformance.Degraded})
	require.Equal(t, conformance.Works, r.Of("recovery after lost sessions").Outcome)
	require.Equal(t, 1, m.PeakSessions())
	require.Zero(t, m.Misuse())
}

// TestHashing tries a token without elliptic curves and PSS that insists on
// hashing itself.
func TestHashing(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := m.Config(t)
	m.Hide(0x0001, 0x0003, 0x000d, 0x0043, 0x0044, 0x0045, 0x1040, 0x1041)
	r := conformance.Run(t, conformance.Subject{Config: cfg, Lose: m.LoseSessions, WrongPIN: wrongPIN})
	t.Log("\n" + r.String())
	require.Equal(t, conformance.Refused, r.Of("key p256").Outcome)
	require.Equal(t, conformance.Degraded, r.Of("sign PKCS #1 v1.5, SHA-256").Outcome)
	require.Equal(t, conformance.Refused, r.Of("sign PSS, SHA-256").Outcome)
	require.Equal(t, conformance.Works, r.Of("certificate requests").Outcome)
	require.Equal(t, conformance.Works, r.Of("recovery after lost sessions").Outcome)
	require.Zero(t, m.Misuse())
}

// TestOpenCryptoki tries the soft token of openCryptoki: PKCS#11 2.20, no
// elliptic curves, a PIN that locks.
func TestOpenCryptoki(t *testing.T) {
	cfg := hsmtest.OpenCryptoki(t)
	m := faultp11.Over(t, cfg.Module)
	cfg.Module = m.Path
	r := conformance.Run(t, conformance.Subject{Config: cfg, Lose: m.LoseSessions, WrongPIN: wrongPIN})
	t.Log("\n" + r.String())
	require.Equal(t, conformance.Refused, r.Of("key p256").Outcome)
	require.Equal(t, conformance.Works, r.Of("handshake, both sides rsa2048").Outcome)
	require.Zero(t, m.Misuse())
}

// TestTPM2 tries tpm2-pkcs11 on a TPM in software, with elliptic curves only: it
// signs with RSA keys by decrypting, which keys of this library must not do.
func TestTPM2(t *testing.T) {
	cfg := hsmtest.TPM2(t)
	m := faultp11.Over(t, cfg.Module)
	cfg.Module = m.Path
	r := conformance.Run(t, conformance.Subject{
		Config: cfg, Lose: m.LoseSessions, WrongPIN: wrongPIN, KeyTypes: []keystore.KeyType{keystore.P256, keystore.P384},
	})
	t.Log("\n" + r.String())
	require.Equal(t, conformance.Degraded, r.Of("trust: inject").Outcome, "no private certificates")
	require.Equal(t, conformance.Works, r.Of("handshake, both sides p256").Outcome)
	require.Zero(t, m.Misuse())
}
