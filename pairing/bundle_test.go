// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

var update = flag.Bool("update", false, "write testdata anew")

// bundleText is a reply of a terminal.
func bundleText(t testing.TB, key *rsa.PrivateKey) []byte {
	t.Helper()
	var pub crypto.PublicKey = newKey(t).Public()
	if key != nil {
		pub = key.Public()
	}
	chain, err := newIssuer(t).Issue("123", pub, time.Now())
	require.NoError(t, err)
	return encodeBundle(key, chain)
}

// TestBundleForm is the wire format, word for word.
func TestBundleForm(t *testing.T) {
	t.Parallel()
	text := bundleText(t, posKey1())
	require.NotContains(t, string(text), "\r")
	require.True(t, bytes.HasPrefix(text, []byte("-----BEGIN RSA PRIVATE KEY-----\n")))
	require.True(t, bytes.HasSuffix(text, []byte("\n-----END CERTIFICATE-----\n")))
	require.NotContains(t, string(text), "\n\n")
	var types []string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "-----BEGIN "); ok {
			types = append(types, strings.TrimSuffix(name, "-----\n"))
		}
		require.LessOrEqual(t, len(line), 65)
	}
	require.Equal(t, []string{"RSA PRIVATE KEY", "CERTIFICATE", "CERTIFICATE", "CERTIFICATE"}, types)
}

func TestParseBundle(t *testing.T) {
	t.Parallel()
	for _, key := range []*rsa.PrivateKey{posKey1(), nil} {
		text := bundleText(t, key)
		b, err := ParseBundle(text)
		require.NoError(t, err)
		require.Equal(t, key != nil, b.Key != nil)
		require.Len(t, b.Chain, 3)
		require.Equal(t, "123", b.POSID())
		require.Len(t, b.Certificate().Certificate, 2, "without the root")
		require.Equal(t, text, encodeBundle(key, b.Chain))
	}
}

func TestParseBundleRefused(t *testing.T) {
	t.Parallel()
	good := bundleText(t, posKey1())
	var blocks [][]byte
	for rest := good; len(rest) > 0; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		blocks = append(blocks, pem.EncodeToMemory(block))
	}
	join := func(order ...int) []byte {
		var text []byte
		for _, i := range order {
			text = append(text, blocks[i]...)
		}
		return text
	}
	require.Equal(t, good, join(0, 1, 2, 3))
	other := bundleText(t, nil)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(posKey1())
	require.NoError(t, err)
	server := testpki.NewRoot("r")
	upper := server.NewIntermediate("i")
	for name, text := range map[string][]byte{
		"empty":          nil,
		"no PEM":         []byte("hello"),
		"CRLF":           bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
		"no newline":     bytes.TrimSuffix(good, []byte("\n")),
		"empty line":     append(bytes.Clone(good), '\n'),
		"text before":    append([]byte("Bag Attributes\n"), good...),
		"text between":   bytes.Replace(good, []byte("-----BEGIN CERT"), []byte("leaf\n-----BEGIN CERT"), 1),
		"cut off":        good[:len(good)-100],
		"key alone":      join(0),
		"no root":        join(0, 1, 2),
		"no CA":          join(0, 1, 3),
		"order":          join(0, 2, 1, 3),
		"key last":       join(1, 2, 3, 0),
		"two keys":       join(0, 0, 1, 2, 3),
		"root twice":     join(0, 1, 2, 3, 3),
		"other's key":    append(bytes.Clone(blocks[0]), other...),
		"other's root":   append(join(0, 1, 2), other[bytes.LastIndex(other, []byte("-----BEGIN")):]...),
		"PKCS #8":        slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), join(1, 2, 3)),
		"PEM headers":    append(pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: x509.MarshalPKCS1PrivateKey(posKey1()), Headers: map[string]string{"X": "y"}}), join(1, 2, 3)...),
		"bad key":        append(pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: []byte("no key")}), join(1, 2, 3)...),
		"bad DER":        append(join(0, 1, 2), pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: []byte("no certificate")})...),
		"for a server":   testpki.PEM(upper.Server("a.test").Leaf, upper.Certificate, server.Certificate),
		"a CA":           testpki.PEM(upper.NewIntermediate("j").Certificate, upper.Certificate, server.Certificate),
		"long":           bytes.Repeat([]byte("A"), maxBundle+1),
		"many":           bytes.Repeat(blocks[1], 9),
		"an ErrorObject": refuseCode.encode(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseBundle(text)
			require.ErrorIs(t, err, ErrBundle)
			require.NotContains(t, err.Error(), "-----BEGIN")
		})
	}
}

// TestBundleSeeds writes and checks what fuzzing begins with.
func TestBundleSeeds(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]*rsa.PrivateKey{"seed.pem": posKey1(), "csr.pem": nil} {
		path := filepath.Join("testdata", "bundle", name)
		if *update {
			require.NoError(t, os.WriteFile(path, bundleText(t, key), 0o600))
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		_, err = ParseBundle(text)
		require.NoError(t, err, "dates are not looked at, so this does not age")
	}
}

// FuzzParseBundle holds that what is accepted can be written again to the same
// bytes, and that the key is the certificate's.
func FuzzParseBundle(f *testing.F) {
	addSeeds(f, "bundle")
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := ParseBundle(text)
		if err != nil {
			return
		}
		var key *rsa.PrivateKey
		if b.Key != nil {
			key = b.Key.(*rsa.PrivateKey)
			if !key.PublicKey.Equal(b.Chain[0].PublicKey) {
				t.Fatal("key of another certificate")
			}
		}
		if got := encodeBundle(key, b.Chain); !bytes.Equal(got, text) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}
