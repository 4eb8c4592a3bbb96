// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
)

func TestRemoveNotFound(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	_, err := s.Inject(t.Context(), "host", a.sent(a.lower.Server("host.example.com").Leaf)...)
	require.NoError(t, err)
	f.plant(t, "foreign", []byte("id"), a.root.Certificate)
	for _, name := range []string{"", "other", "foreign", alias.TrustIssuerLabel(a.lower.Certificate.Raw)} {
		require.ErrorIs(t, s.Remove(t.Context(), name), ErrNotFound, "%q", name)
	}
	require.Len(t, f.labels(t), 4)
	require.Len(t, s.Entries(), 1)
}

// What has been removed is not trusted under another name, and a false id does
// not take an entry along.
func TestRemoveTakesCopies(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	host, other := a.root.Server("host.example.com").Leaf, a.root.Server("other.example.com").Leaf
	_, err := s.Inject(t.Context(), "host", host)
	require.NoError(t, err)
	_, err = s.Inject(t.Context(), "other", other)
	require.NoError(t, err)
	f.plantEntry(t, "copy", host)
	f.plant(t, "false", alias.TrustID(other.Raw), a.root.Certificate)

	require.NoError(t, s.Remove(t.Context(), "host"))
	require.ElementsMatch(t, []string{"other", "false"}, f.labels(t))
	require.NoError(t, s.Remove(t.Context(), "false"))
	require.Equal(t, []string{"other"}, f.labels(t))
	require.Len(t, s.Entries(), 1)
}

// A rejected object can be removed like an entry.
func TestRemoveRejected(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	f.plantEntry(t, "stranger", newAcquirer().root.Server("evil.example.com").Leaf)
	s := a.open(t, f)
	require.Len(t, s.Rejected(), 1)
	require.NoError(t, s.Remove(t.Context(), "stranger"))
	require.Empty(t, s.Rejected())
	require.Empty(t, f.labels(t))
}

func TestRemoveIsIgnored(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	_, err := s.Inject(t.Context(), "host", a.root.Server("host.example.com").Leaf)
	require.NoError(t, err)
	f.cling = true
	require.ErrorIs(t, s.Remove(t.Context(), "host"), ErrNotStored)
	require.Len(t, s.Entries(), 1, "it is still there")
}

// Whichever call fails: once the object may be gone, the entry is not trusted.
func TestRemoveFails(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	host := a.root.Server("host.example.com").Leaf
	for call := 1; call <= 5; call++ {
		f := newFaulty(t)
		s := a.open(t, f)
		_, err := s.Inject(t.Context(), "host", host)
		require.NoError(t, err)
		f.arm(call)
		if err := s.Remove(t.Context(), "host"); call == 2 {
			require.NoError(t, err, "destroying is tried once more if the object is still there")
		} else {
			require.ErrorIs(t, err, errDevice, "call %d", call)
		}
		f.arm(0)
		_, err = s.Verify(certs(host), "", serverAuth, time.Now())
		if len(f.labels(t)) == 0 {
			require.ErrorIs(t, err, ErrEmpty, "call %d", call)
		} else {
			require.NoError(t, err, "call %d", call)
		}
	}
}

// Remove calls the token as often as its comment says.
func TestRemoveCalls(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	_, err := s.Inject(t.Context(), "host", a.root.Server("host.example.com").Leaf)
	require.NoError(t, err)
	_, err = s.Inject(t.Context(), "below", a.sent(a.lower.Server("below.example.com").Leaf)...)
	require.NoError(t, err)
	f.arm(0)
	require.NoError(t, s.Remove(t.Context(), "host"))
	require.Equal(t, 5, f.calls)
	f.arm(0)
	require.NoError(t, s.Remove(t.Context(), "below"))
	require.Equal(t, 5+2+2, f.calls, "two issuers go too")
	require.Empty(t, f.labels(t))
}
