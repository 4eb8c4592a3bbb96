// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && unix

package p11_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A certificate is read with one call, and listed with none. A slow token is read
// in several sessions, and what is read is the same.
func TestReadCertificates(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	token := hsmtest.Open(t, m.Config(t)).Device()
	ca := testpki.NewRoot("root")
	want := map[string][]byte{}
	const n = 300
	for i := range n {
		label := fmt.Sprintf("host %d", i)
		want[label] = ca.Server("host.example.com").Leaf.Raw
		_, err := token.CreateCertificate(t.Context(), p11.CertificateTemplate{Label: label, ID: []byte(label), Value: want[label], Category: p11.CategoryOther, Private: true})
		require.NoError(t, err)
	}
	require.True(t, token.KeepsHandles())
	m.ResetCalls()
	objects, err := token.CertificateObjects(t.Context())
	require.NoError(t, err)
	require.Len(t, objects, n)
	require.Zero(t, m.Calls("C_GetAttributeValue"))

	same := func() {
		read, err := token.ReadCertificates(t.Context(), objects)
		require.NoError(t, err)
		require.Len(t, read, n)
		for _, c := range read {
			require.Equal(t, want[c.Label], c.Value)
			require.Equal(t, []byte(c.Label), c.ID)
			require.True(t, c.Private)
			require.False(t, c.Trusted)
			require.Equal(t, p11.CategoryOther, c.Category)
		}
	}
	same()
	require.Equal(t, n, m.Calls("C_GetAttributeValue"))
	m.Delay("C_GetAttributeValue", time.Millisecond)
	m.ResetCalls()
	same()
	require.Equal(t, n, m.Calls("C_GetAttributeValue"))
	require.Greater(t, m.MaxInFlight("C_GetAttributeValue"), 1)
	m.Clear("C_GetAttributeValue")

	// What is gone is left out, and what comes after it has another handle.
	require.NoError(t, token.Destroy(t.Context(), objects[0]))
	_, err = token.CreateCertificate(t.Context(), p11.CertificateTemplate{Label: "new", ID: []byte("new"), Value: ca.Certificate.Raw})
	require.NoError(t, err)
	read, err := token.ReadCertificates(t.Context(), objects)
	require.NoError(t, err)
	require.Len(t, read, n-1)
	now, err := token.CertificateObjects(t.Context())
	require.NoError(t, err)
	require.NotContains(t, now, objects[0])

	m.Fail("C_GetAttributeValue", 1, faultp11.FunctionFailed)
	_, err = token.ReadCertificates(t.Context(), now)
	require.NoError(t, err, "it is asked again")
	read, err = token.ReadCertificates(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, read)
}

// TestSearchEnds counts the answers of a search: ten handles may be a module's most.
func TestSearchEnds(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	token := hsmtest.Open(t, m.Config(t)).Device()
	der := testpki.NewRoot("root").Certificate.Raw
	for n := range 11 {
		m.ResetCalls()
		objects, err := token.CertificateObjects(t.Context())
		require.NoError(t, err)
		require.Len(t, objects, n)
		require.Equal(t, 1+n/10, m.Calls("C_FindObjects"), n)
		_, err = token.CreateCertificate(t.Context(), p11.CertificateTemplate{Label: "one of many", Value: der})
		require.NoError(t, err)
	}
}

// A value that is larger than usual takes a second call.
func TestReadLargeCertificate(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	token := hsmtest.Open(t, m.Config(t)).Device()
	template := testpki.ServerTemplate("host.example.com")
	for i := range 400 {
		template.DNSNames = append(template.DNSNames, fmt.Sprintf("host-%d.example.com", i))
	}
	ca := testpki.NewRoot("root")
	cert := ca.Issue(template, ca.Key.Public())
	require.Greater(t, len(cert.Raw), 4096)
	_, err := token.CreateCertificate(t.Context(), p11.CertificateTemplate{Label: "large", ID: []byte("large"), Value: cert.Raw})
	require.NoError(t, err)
	objects, err := token.CertificateObjects(t.Context())
	require.NoError(t, err)
	m.ResetCalls()
	read, err := token.ReadCertificates(t.Context(), objects)
	require.NoError(t, err)
	require.True(t, bytes.Equal(cert.Raw, read[0].Value))
	require.Equal(t, 2, m.Calls("C_GetAttributeValue"))

	const trusted = 0x86
	m.RefuseAttributes(trusted)
	read, err = token.ReadCertificates(t.Context(), objects)
	require.NoError(t, err)
	require.True(t, bytes.Equal(cert.Raw, read[0].Value), "an attribute that is not known stands in the way")
	require.Equal(t, "large", read[0].Label)
}
