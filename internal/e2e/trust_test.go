// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// requireRefused asserts that neither role accepts the certificate of pki: the
// terminal does not connect to it and the acquirer does not serve it.
func (s *station) requireRefused(t *testing.T, pki *testpki.CA, want error) {
	t.Helper()
	server := s.peer(pki.Server(loopback)).server(t)
	_, err := s.dial(t.Context(), s.p, server.addr)
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
	if want != nil {
		require.ErrorIs(t, err, want)
	}
	require.Error(t, (<-server.results).err)
	s.requireSignatures(t, 0) // a stranger gets no signature of the client's

	own := s.listen(t, s.p)
	_, err = s.peer(pki.Client("terminal 3")).dialer()(own.addr)
	require.Error(t, err)
	err = (<-own.results).err
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
	if want != nil {
		require.ErrorIs(t, err, want)
	}
	s.requireSignatures(t, 1) // a server signs before the client has shown anything
}

// TestTrustedServer trusts one server by its own certificate: it is accepted,
// and its neighbour by the same issuer is not.
func TestTrustedServer(t *testing.T) {
	t.Parallel()
	s := newStation(t, setup{})
	other := s.root.NewIntermediate("Other Hosts")
	cert := other.Server(loopback)
	s.requireRefused(t, other, truststore.ErrUntrusted)

	entry, err := s.trust.Inject(t.Context(), "partner", cert.Leaf, other.Certificate)
	require.NoError(t, err)
	s.ResetCalls()
	server := s.peer(cert).server(t)
	conn, err := s.dial(t.Context(), s.p, server.addr)
	require.NoError(t, err)
	require.Equal(t, entry.Certificate.Raw, conn.ConnectionState().PeerCertificates[0].Raw)
	s.requireSignatures(t, 1)
	s.requireRefused(t, other, truststore.ErrUntrusted)

	require.NoError(t, s.trust.Remove(t.Context(), "partner"))
	s.ResetCalls()
	_, err = s.dial(t.Context(), s.p, server.addr)
	require.ErrorIs(t, err, truststore.ErrUntrusted, "the session goes with the trust")
}

// TestPlantedCertificates writes certificates past the store, as anybody with the
// device can write public objects: none of them makes anybody trusted.
func TestPlantedCertificates(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		foreign bool // issued by another root than the anchor
		marked  bool // with the id of a trusted entry
		why     error
		refusal error
	}{
		"anchored, unmarked": {false, false, truststore.ErrForeign, truststore.ErrUntrusted},
		"foreign, unmarked":  {true, false, truststore.ErrForeign, nil},
		"foreign, marked":    {true, true, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStation(t, setup{})
			root := s.root
			if tt.foreign {
				root = testpki.NewRoot("Acquirer Root") // the same name
			}
			planted := root.NewIntermediate("Hosts")
			s.plant(t, "planted", planted.Certificate, tt.marked)
			s.plant(t, "planted root", root.Certificate, tt.marked && tt.foreign)

			before := s.trust.Generation()
			require.NoError(t, s.trust.Refresh(t.Context()))
			require.Equal(t, before, s.trust.Generation(), "what is trusted is the same")
			require.Len(t, s.trust.Entries(), 2)
			s.requireRejected(t, planted.Certificate, tt.why)
			s.ResetCalls()
			s.requireRefused(t, planted, tt.refusal)
			s.bothSides(t)
		})
	}
}

// plant writes a public certificate object.
func (s *station) plant(t *testing.T, label string, cert *x509.Certificate, marked bool) {
	t.Helper()
	template := p11.CertificateTemplate{Label: label, Value: cert.Raw, Category: p11.CategoryAuthority}
	if marked {
		template.ID = alias.TrustID(cert.Raw)
	}
	made, err := s.token.Device().CreateCertificate(t.Context(), template)
	require.NoError(t, err)
	require.False(t, made.Private)
}

func (s *station) requireRejected(t *testing.T, cert *x509.Certificate, why error) {
	t.Helper()
	for _, r := range s.trust.Rejected() {
		if r.Certificate == nil || !r.Certificate.Equal(cert) {
			continue
		}
		if why == nil {
			require.ErrorAs(t, r.Err, new(*truststore.RejectedError))
			return
		}
		require.ErrorIs(t, r.Err, why)
		return
	}
	require.Fail(t, "the planted certificate is not among those rejected")
}
