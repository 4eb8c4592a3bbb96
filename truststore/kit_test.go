// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// Keys of a kind are made once: RSA takes its time.
var (
	rsa1024 = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(1024) })
	rsa2048 = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2048) })
	rsa2052 = sync.OnceValue(func() *rsa.PrivateKey { return newRSA(2052) })
)

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

// issue lets the template be anything, and the issuer's certificate too.
func issue(t *testing.T, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

// forge rewrites fields of a certificate that crypto/x509 would not write and
// signs it again, so that it is as good as the CA that signs it: fields are those
// of TBSCertificate, the version being the first.
func forge(t *testing.T, ca *testpki.CA, c *x509.Certificate, edit func(fields []asn1.RawValue)) *x509.Certificate {
	t.Helper()
	fields, ok := children(c.RawTBSCertificate)
	require.True(t, ok)
	edit(fields)
	tbs := marshal(t, fields)
	hash, sum := crypto.SHA256, sha256.Sum256(tbs)
	digest := sum[:]
	if string(fields[2].FullBytes) == string(sha1WithRSA(t)) {
		sum := sha1.Sum(tbs)
		hash, digest = crypto.SHA1, sum[:]
	}
	signature, err := ca.Key.Sign(rand.Reader, digest, hash)
	require.NoError(t, err)
	der := marshal(t, []asn1.RawValue{
		{FullBytes: tbs},
		{FullBytes: fields[2].FullBytes},
		{FullBytes: marshal(t, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)})},
	})
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

func sha1WithRSA(t *testing.T) []byte {
	return marshal(t, pkix.AlgorithmIdentifier{
		Algorithm:  asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5},
		Parameters: asn1.NullRawValue,
	})
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	require.NoError(t, err)
	return der
}

// ext makes an extension of any value.
func ext(t *testing.T, id asn1.ObjectIdentifier, critical bool, value any) pkix.Extension {
	t.Helper()
	return pkix.Extension{Id: id, Critical: critical, Value: marshal(t, value)}
}

func tagged(tag int, compound bool, der []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: der}
}

func brokenRule(t *testing.T, err error) string {
	t.Helper()
	var broken *RuleError
	require.ErrorAs(t, err, &broken)
	return broken.Rule
}
