// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func csrOf(t testing.TB) string {
	t.Helper()
	csr, err := certificateRequest(newKey(t))
	require.NoError(t, err)
	return csr
}

// quoted is a JSON string.
func quoted(t testing.TB, s string) string {
	t.Helper()
	text, err := json.Marshal(s)
	require.NoError(t, err)
	return string(text)
}

func TestParseRequest(t *testing.T) {
	t.Parallel()
	csr := quoted(t, csrOf(t))
	for _, text := range []string{
		`{"posId":"123","setupCode":"8QW1YS1D"}`,
		` { "setupCode" : "8qw1-ys1d" , "posId" : "123" } ` + "\n",
		`{"posId":"123","setupCode":"8QW1YS1D","vendor":{"x":[1,null]},"posID":7}`,
		`{"\u0070osId":"123","setupCode":"8QW1YS1D"}`,
		`{"posId":"123","setupCode":"8QW1YS1D","csr":` + csr + `}`,
	} {
		r, err := parseRequest([]byte(text))
		require.NoError(t, err, text)
		require.Equal(t, "123", r.posID)
		require.Equal(t, "8QW1YS1D", r.code.Reveal())
		require.Equal(t, strings.Contains(text, "csr"), r.pub != nil)
	}
}

func TestParseRequestRefused(t *testing.T) {
	t.Parallel()
	forged := csrOf(t)
	block, _ := pem.Decode([]byte(forged))
	block.Bytes[len(block.Bytes)-1] ^= 1
	forged = string(pem.EncodeToMemory(block))
	sha1 := func() string {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, posKey1())
		require.NoError(t, err)
		csr, err := x509.ParseCertificateRequest(der)
		require.NoError(t, err)
		// The algorithm alone is changed: sha256WithRSAEncryption is ...1.11, sha1 is ...1.5.
		oid := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b}
		i := strings.LastIndex(string(csr.Raw), string(oid))
		require.Positive(t, i)
		csr.Raw[i+8] = 0x05
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr.Raw}))
	}()
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"empty":            {``, ErrRequest},
		"null":             {`null`, ErrRequest},
		"array":            {`[]`, ErrRequest},
		"nothing in it":    {`{}`, ErrRequest},
		"no code":          {`{"posId":"123"}`, ErrRequest},
		"no id":            {`{"setupCode":"8QW1YS1D"}`, ErrRequest},
		"number":           {`{"posId":123,"setupCode":"8QW1YS1D"}`, ErrRequest},
		"null id":          {`{"posId":null,"setupCode":"8QW1YS1D"}`, ErrRequest},
		"other case":       {`{"POSID":"123","setupCode":"8QW1YS1D"}`, ErrRequest},
		"twice":            {`{"posId":"123","posId":"123","setupCode":"8QW1YS1D"}`, ErrRequest},
		"twice unknown":    {`{"x":1,"x":1,"posId":"123","setupCode":"8QW1YS1D"}`, ErrRequest},
		"more after it":    {`{"posId":"123","setupCode":"8QW1YS1D"}{}`, ErrRequest},
		"cut off":          {`{"posId":"123","setupCode":"8QW1YS1D"`, ErrRequest},
		"comma":            {`{"posId":"123","setupCode":"8QW1YS1D",}`, ErrRequest},
		"not UTF-8":        {"{\"posId\":\"\xff\",\"setupCode\":\"8QW1YS1D\"}", ErrRequest},
		"id":               {`{"posId":"","setupCode":"8QW1YS1D"}`, ErrPOSID},
		"id with newline":  {`{"posId":"a\nb","setupCode":"8QW1YS1D"}`, ErrPOSID},
		"code":             {`{"posId":"123","setupCode":"8QW1YS1"}`, ErrCode},
		"csr":              {`{"posId":"123","setupCode":"8QW1YS1D","csr":""}`, ErrCSR},
		"csr null":         {`{"posId":"123","setupCode":"8QW1YS1D","csr":null}`, ErrRequest},
		"csr forged":       {`{"posId":"123","setupCode":"8QW1YS1D","csr":` + quoted(t, forged) + `}`, ErrCSR},
		"csr with SHA-1":   {`{"posId":"123","setupCode":"8QW1YS1D","csr":` + quoted(t, sha1) + `}`, ErrCSR},
		"csr twice":        {`{"posId":"123","setupCode":"8QW1YS1D","csr":` + quoted(t, csrOf(t)+csrOf(t)) + `}`, ErrCSR},
		"csr of no object": {`{"posId":"123","setupCode":"8QW1YS1D","csr":"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"}`, ErrCSR},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseRequest([]byte(test.text))
			require.ErrorIs(t, err, test.want)
			require.GreaterOrEqual(t, refusalOf(err).status, 400)
			require.Less(t, refusalOf(err).status, 500)
		})
	}
}

func TestParseRenewal(t *testing.T) {
	t.Parallel()
	pub, err := parseRenewal([]byte(`{"csr":` + quoted(t, csrOf(t)) + `}`))
	require.NoError(t, err)
	require.NotNil(t, pub)
	_, err = parseRenewal([]byte(`{}`))
	require.ErrorIs(t, err, ErrRequest)
	_, err = parseRenewal([]byte(`{"csr":"x"}`))
	require.ErrorIs(t, err, ErrCSR)
	_, err = parseRenewal(nil)
	require.ErrorIs(t, err, ErrRequest)
}

// addSeeds adds the files of a folder below testdata, of which there must be some.
func addSeeds(f *testing.F, dir string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds in testdata/%s: %v", dir, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
}

// FuzzParseRequest holds that what is accepted says the same when it is written
// plainly.
func FuzzParseRequest(f *testing.F) {
	addSeeds(f, "request")
	f.Add([]byte(`{"posId":"123","setupCode":"8QW1YS1D","csr":` + quoted(f, csrOf(f)) + `}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRequest(text)
		if err != nil {
			if got := refusalOf(err).status; got < 400 || got > 499 {
				t.Fatalf("status %d for %v", got, err)
			}
			return
		}
		if CheckPOSID(r.posID) != nil || len(r.code.Reveal()) != codeLength {
			t.Fatalf("accepted %q", text)
		}
		plain, err := json.Marshal(map[string]string{"posId": r.posID, "setupCode": r.code.Reveal()})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseRequest(plain)
		if err != nil || again.posID != r.posID || !again.code.equal(r.code) {
			t.Fatalf("%q became %q: %v", text, plain, err)
		}
	})
}
