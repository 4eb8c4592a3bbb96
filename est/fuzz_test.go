// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package est

import (
	"crypto/x509"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// FuzzAnswer feeds bodies as they come from the network. What is accepted as the
// answer to a request is for its key and in order.
func FuzzAnswer(f *testing.F) {
	der, key := request(f, "t.example")
	csr, err := x509.ParseCertificateRequest(der)
	require.NoError(f, err)
	ca := issuingCA()
	good := testpki.CertsOnly(append(ca.Chain(), ca.Issue(testpki.ClientTemplate("t"), key.Public()))...)
	for _, seed := range [][]byte{good, testpki.CertsOnly(), {0x30, 0x80, 0, 0}, {0x30, 0x80, 0x1f}, good[:40]} {
		f.Add(encode(seed))
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, operation := range []string{"cacerts", "simpleenroll"} {
			a := &answer{operation: operation, body: body, header: http.Header{"Content-Type": {typePKCS7}}}
			found, err := a.certificates(true)
			if err != nil {
				require.ErrorIs(t, err, ErrAnswer)
				continue
			}
			require.NotEmpty(t, found)
			chain, err := chainFor(csr, found)
			if err != nil {
				require.ErrorIs(t, err, ErrOtherKey)
				continue
			}
			require.True(t, isFor(chain[0], csr.PublicKey))
			for i, c := range chain[1:] {
				require.NoError(t, chain[i].CheckSignatureFrom(c))
			}
		}
		if wishes, err := parseAttributes(body); err != nil {
			require.ErrorIs(t, err, ErrAnswer)
			require.Zero(t, wishes)
		}
	})
}
