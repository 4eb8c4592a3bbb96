// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// An issuer with a key of a million bits is none. Anybody may have written it to the
// token, and one signature would take half a minute.
func TestHugeIssuer(t *testing.T) {
	t.Parallel()
	a, f := newAcquirer(), newFaulty(t)
	n := new(big.Int).Lsh(big.NewInt(1), 1<<20)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "huge"}, IsCA: true, BasicConstraintsValid: true}
	huge := a.root.Issue(template, &rsa.PublicKey{N: n.Sub(n, big.NewInt(1)), E: 1<<31 - 1})
	host := testpki.ServerTemplate("host.example.com")
	host.SerialNumber, host.NotBefore, host.NotAfter = big.NewInt(7), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := &x509.Certificate{RawSubject: huge.RawSubject, SubjectKeyId: huge.SubjectKeyId}
	f.plantEntry(t, alias.TrustIssuerLabel(huge.Raw), huge)
	f.plantEntry(t, "host", issue(t, host, parent, rsa2048().Public(), rsa2048()))
	between := issuers{}
	between.add(huge)
	require.Empty(t, between)
	require.True(t, between.above([]*x509.Certificate{huge}).Equal(x509.NewCertPool()), "nor if a peer sends it")
	s := a.open(t, f)
	require.Empty(t, s.Entries())
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, s.Rejected()[0].Err, &unknown)
}
