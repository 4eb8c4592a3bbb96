// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func TestParseCertificates(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("Root")
	a, b := root.Certificate, root.Server("b.example").Leaf
	key, err := x509.MarshalPKCS8PrivateKey(root.Key)
	require.NoError(t, err)
	block := func(typ string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
	}
	one, two := block("CERTIFICATE", a.Raw), block("CERTIFICATE", b.Raw)

	for name, test := range map[string]struct {
		in   string
		want []*x509.Certificate
		err  error
	}{
		"one":                  {in: one, want: []*x509.Certificate{a}},
		"two":                  {in: one + two, want: []*x509.Certificate{a, b}},
		"text before":          {in: "subject=CN=a\n" + one + "\nsubject=CN=b\n" + two + "\n\n", want: []*x509.Certificate{a, b}},
		"carriage returns":     {in: strings.ReplaceAll(one, "\n", "\r\n"), want: []*x509.Certificate{a}},
		"DER":                  {in: string(a.Raw), want: []*x509.Certificate{a}},
		"empty":                {in: "", err: ErrNoCertificate},
		"white space":          {in: " \n", err: ErrNoCertificate},
		"text":                 {in: "hello", err: ErrNoCertificate},
		"no certificate in it": {in: block("CERTIFICATE", []byte("x")), err: ErrNoCertificate},
		"text behind":          {in: one + "x", err: ErrTrailing},
		"DER, more behind":     {in: string(a.Raw) + "x", err: ErrTrailing},
		"DER, another behind":  {in: string(a.Raw) + string(b.Raw), err: ErrSeveral},
		"key":                  {in: block("PRIVATE KEY", key), err: ErrPrivateKey},
		"encrypted key":        {in: block("ENCRYPTED PRIVATE KEY", key), err: ErrPrivateKey},
		"key behind":           {in: one + block("EC PRIVATE KEY", key), err: ErrPrivateKey},
		"key in DER":           {in: string(key), err: ErrPrivateKey},
		"request":              {in: block("CERTIFICATE REQUEST", nil), err: ErrRequest},
		"CRL":                  {in: block("X509 CRL", nil), err: ErrOtherBlock},
		"trusted certificate":  {in: block("TRUSTED CERTIFICATE", a.Raw), err: ErrOtherBlock},
		"cut off":              {in: one[:len(one)-30], err: ErrMalformed},
		"first is broken":      {in: strings.Replace(one, "\n", "\n!", 1) + two, err: ErrMalformed},
		"middle is broken":     {in: one + strings.Replace(two, "\n", "\n!", 1) + one, err: ErrMalformed},
		"dashes in the text":   {in: "-----\n" + one, err: ErrMalformed},
		"headers":              {in: strings.Replace(one, "\n", "\nA: b\n\n", 1), err: ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseCertificates([]byte(test.in))
			require.ErrorIs(t, err, test.err)
			require.Len(t, got, len(test.want))
			for i := range got {
				require.True(t, got[i].Equal(test.want[i]), "certificate %d", i)
			}
		})
	}
}

// FuzzParseCertificates holds that what is accepted is certificates and nothing
// else: written again it reads the same, and there is no other block in it.
func FuzzParseCertificates(f *testing.F) {
	seeds, err := filepath.Glob("testdata/certificates/*")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds in testdata/certificates: %v", err)
	}
	for _, path := range seeds {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	root := testpki.NewRoot("Root").Certificate
	f.Add(root.Raw)
	f.Add(append(testpki.PEM(root), testpki.PEM(root)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := ParseCertificates(data)
		if err != nil {
			require.Empty(t, certs)
			return
		}
		require.NotEmpty(t, certs)
		if bytes.Contains(data, pemBegin) {
			require.Equal(t, len(certs), bytes.Count(data, pemBegin))
		}
		again, err := ParseCertificates(testpki.PEM(certs...))
		require.NoError(t, err)
		require.Len(t, again, len(certs))
		for i := range again {
			require.Equal(t, certs[i].Raw, again[i].Raw)
		}
	})
}

func TestReadCertificates(t *testing.T) {
	t.Parallel()
	root := testpki.NewRoot("Root").Certificate
	path := filepath.Join(t.TempDir(), "roots.pem")
	write := func(data []byte) { require.NoError(t, os.WriteFile(path, data, 0o600)) }
	write(testpki.PEM(root))
	got, err := ReadCertificates(path)
	require.NoError(t, err)
	require.Equal(t, certs(root), got)
	write([]byte("hello"))
	_, err = ReadCertificates(path)
	require.ErrorIs(t, err, ErrNoCertificate)
	var named *Error
	require.ErrorAs(t, err, &named)
	require.ErrorContains(t, err, path)
	write(make([]byte, maxFile+1))
	_, err = ReadCertificates(path)
	require.ErrorIs(t, err, ErrFileTooLarge)
	_, err = ReadCertificates(path + ".missing")
	require.ErrorIs(t, err, os.ErrNotExist)
}
