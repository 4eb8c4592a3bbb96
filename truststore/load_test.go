// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// What somebody has put on the token is reported with its reason, and does not
// keep a good entry from working.
func TestPlantedObjects(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	host := a.lower.Server("host.example.com").Leaf
	_, err := s.Inject(t.Context(), "host", a.sent(host)...)
	require.NoError(t, err)

	evil := testpki.NewRoot("evil")
	stranger := evil.Server("evil.example.com").Leaf
	unchecked := a.lower.Server("unchecked.example.com").Leaf
	f.plantEntry(t, "stranger", stranger)
	f.plantEntry(t, "stranger root", evil.Certificate)
	f.plant(t, "marked", alias.TrustID(host.Raw), unchecked)
	f.plant(t, "foreign", []byte("id"), a.lower.Certificate)
	f.plant(t, "no id", nil, a.lower.Server("bare.example.com").Leaf)
	f.plantEntry(t, "weak", a.root.Issue(testpki.ServerTemplate("weak.example.com"), rsa1024().Public()))
	f.plantEntry(t, "garbage", a.lower.Server("garbage.example.com").Leaf)
	f.plantEntry(t, "host", stranger)
	f.plantEntry(t, "issuer of trust 0000000000000000", unchecked)
	f.plantEntry(t, "bad\x1blabel", a.lower.Server("label.example.com").Leaf)
	f.plantEntry(t, alias.TrustIssuerLabel(evil.Certificate.Raw), evil.Certificate)
	f.seen = func(found []p11.Certificate) {
		for i := range found {
			if found[i].Label == "garbage" {
				found[i].Value = []byte("no certificate")
			}
		}
	}
	require.NoError(t, s.Refresh(t.Context()))

	require.Len(t, s.Entries(), 1)
	require.Equal(t, host, s.Entries()[0].Certificate)
	_, err = s.Verify(certs(host), "host.example.com", serverAuth, time.Now())
	require.NoError(t, err)
	for _, c := range certs(stranger, unchecked) {
		_, err = s.Verify(append(a.sent(c), evil.Certificate), "", serverAuth, time.Now())
		require.Error(t, err)
	}

	reasons := map[string]error{}
	for _, r := range s.Rejected() {
		require.NotContains(t, reasons, r.Label)
		reasons[r.Label] = r.Err
	}
	require.Len(t, reasons, 10)
	isUnknownAuthority(t, reasons["stranger"])
	isUnknownAuthority(t, reasons["stranger root"])
	isUnknownAuthority(t, reasons["host"])
	require.ErrorIs(t, reasons["marked"], ErrMarked)
	require.ErrorIs(t, reasons["foreign"], ErrForeign)
	require.ErrorIs(t, reasons["no id"], ErrForeign)
	require.Equal(t, "key", brokenRule(t, reasons["weak"]))
	require.Error(t, reasons["garbage"])
	require.ErrorIs(t, reasons["issuer of trust 0000000000000000"], alias.ErrReserved)
	require.ErrorIs(t, reasons["bad\x1blabel"], alias.ErrUnprintable)
}

// The certificate of a key on the token is an identity and nobody else's matter.
func TestIdentitiesAreLeftAlone(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	id := bytes.Repeat([]byte{7}, 20)
	key, err := f.device.(p11.Token).GenerateKey(t.Context(), p11.KeyTemplate{Label: "terminal", ID: id, Type: p11.P256})
	require.NoError(t, err)
	leaf := a.lower.Issue(testpki.ClientTemplate("terminal"), key.Public)
	f.plant(t, "terminal_pub", id, leaf)
	f.plant(t, alias.IssuerLabel(a.lower.Certificate.Raw), alias.IssuerID(a.lower.Certificate.Raw), a.lower.Certificate)

	s := a.open(t, f)
	require.Empty(t, s.Entries())
	require.Empty(t, s.Rejected())
	require.ErrorIs(t, s.Remove(t.Context(), "terminal_pub"), ErrNotFound)
	require.Len(t, f.labels(t), 2)
}

// An entry whose anchor is no longer configured is not trusted.
func TestAnchorWithdrawn(t *testing.T) {
	t.Parallel()
	a, b := newAcquirer(), newAcquirer()
	f := newFaulty(t)
	_, err := a.open(t, f).Inject(t.Context(), "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.NoError(t, err)
	s := b.open(t, f)
	require.Empty(t, s.Entries())
	require.Len(t, s.Rejected(), 1)
	isUnknownAuthority(t, s.Rejected()[0].Err)
}

// An entry whose kept issuer somebody has deleted cannot be proved.
func TestIssuerLost(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	_, err := s.Inject(t.Context(), "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.NoError(t, err)
	found, err := f.device.Certificates(t.Context(), p11.Filter{Label: alias.TrustIssuerLabel(a.upper.Certificate.Raw)})
	require.NoError(t, err)
	require.NoError(t, f.device.Destroy(t.Context(), found[0].Object))
	require.NoError(t, s.Refresh(t.Context()))
	require.Empty(t, s.Entries())
	isUnknownAuthority(t, s.Rejected()[0].Err)
}

// Good certificates that contend for a name: a private object prevails over a
// public one, and between equals nobody does.
func TestContention(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	one, two := a.root.Server("one.example.com").Leaf, a.root.Server("two.example.com").Leaf
	for _, tt := range []struct {
		name                 string
		public               bool // the first object is public too
		label                string
		other                bool // the planted object holds the other certificate
		entries, ambiguities int
	}{
		{"public against private, one alias", false, "host", true, 1, 1},
		{"public against private, one certificate", false, "again", false, 1, 1},
		{"public against public, one alias", true, "host", true, 0, 2},
		{"public against public, one certificate", true, "again", false, 0, 2},
		{"exact copy", true, "host", false, 1, 0},
		{"exact copy of a private one", false, "host", false, 1, 0},
		{"another alias and certificate", true, "again", true, 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			f.public = tt.public
			s := a.open(t, f)
			e, err := s.Inject(t.Context(), "host", one)
			require.NoError(t, err)
			planted := one
			if tt.other {
				planted = two
			}
			f.plantEntry(t, tt.label, planted)
			require.NoError(t, s.Refresh(t.Context()))
			require.Len(t, s.Entries(), tt.entries)
			require.Len(t, s.Rejected(), tt.ambiguities)
			for _, r := range s.Rejected() {
				require.ErrorIs(t, r.Err, ErrAmbiguous)
			}
			if tt.entries == 1 {
				require.Equal(t, e, s.Entries()[0])
			}
		})
	}
}
