// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

func (a acquirer) candidates(n int) (all []Candidate) {
	for i := range n {
		host := a.lower.Server(fmt.Sprintf("host-%d.example.com", i)).Leaf
		all = append(all, Candidate{fmt.Sprintf("host %d", i), a.sent(host)})
	}
	return all
}

// injectAll returns the verdicts by alias.
func injectAll(t *testing.T, s *Store, ctx context.Context, all []Candidate) (map[string]Verdict, error) {
	t.Helper()
	verdicts := map[string]Verdict{}
	err := s.InjectAll(ctx, slices.Values(all), func(v Verdict) { verdicts[v.Alias] = v })
	return verdicts, err
}

func TestInjectAll(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	all := a.candidates(injectBatch + 4)
	all = append(all,
		Candidate{"stranger", certs(testpki.NewRoot("stranger").Server("host.example.com").Leaf)},
		Candidate{"again", all[0].Chain},
		Candidate{"bad\x1blabel", all[1].Chain},
		Candidate{"nothing", nil})
	verdicts, err := injectAll(t, s, t.Context(), all)
	require.NoError(t, err)
	require.Len(t, verdicts, len(all))
	for _, c := range all[:injectBatch+4] {
		v := verdicts[c.Alias]
		require.NoError(t, v.Err, c.Alias)
		require.False(t, v.Already)
		require.Equal(t, c.Chain[0], v.Entry.Certificate)
	}
	isUnknownAuthority(t, verdicts["stranger"].Err)
	require.ErrorIs(t, verdicts["again"].Err, ErrExists)
	require.ErrorIs(t, verdicts["bad\x1blabel"].Err, alias.ErrUnprintable)
	require.Error(t, verdicts["nothing"].Err)
	require.Len(t, s.Entries(), injectBatch+4)
	require.Len(t, f.labels(t), injectBatch+4+2, "the issuers are kept once")

	// Another store, and the same again: nothing is written.
	f.arm(0)
	f.onCreate = func(context.Context, p11.CertificateTemplate) { t.Error("it is there already") }
	verdicts, err = injectAll(t, a.open(t, f), t.Context(), all[:injectBatch+4])
	require.NoError(t, err)
	for _, v := range verdicts {
		require.True(t, v.Already)
		require.NoError(t, v.Err)
	}
}

// What an interruption leaves is whole, is reported, and can be gone on with.
func TestInjectAllInterrupted(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	all := a.candidates(10)
	ctx, cancel := context.WithCancel(t.Context())
	writes := 0
	f.onCreate = func(context.Context, p11.CertificateTemplate) {
		if writes++; writes == 7 { // two issuers, and the fifth entry, which is written to its end
			cancel()
		}
	}
	verdicts, err := injectAll(t, s, ctx, all)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, verdicts, 10, "all were taken")
	require.Len(t, s.Entries(), 5)
	for _, e := range s.Entries() {
		require.NoError(t, verdicts[e.Alias].Err)
	}
	for _, v := range verdicts {
		if v.Err != nil {
			require.ErrorIs(t, v.Err, context.Canceled)
		}
	}
	require.Len(t, f.labels(t), 5+2)
	f.onCreate = nil
	again, err := injectAll(t, s, t.Context(), all)
	require.NoError(t, err)
	require.Len(t, s.Entries(), 10)
	for name, v := range verdicts {
		require.Equal(t, v.Err == nil, again[name].Already)
	}
}

// A token that acknowledges writes and loses them is found out, and nothing of what
// it has kept stays.
func TestInjectAllLost(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	for lost := range 5 { // two issuers and three entries
		f := newFaulty(t)
		s := a.open(t, f)
		writes := 0
		f.onCreate = func(context.Context, p11.CertificateTemplate) {
			f.forget = writes == lost
			writes++
		}
		verdicts, err := injectAll(t, s, t.Context(), a.candidates(3))
		require.NoError(t, err)
		failed := 0
		for _, v := range verdicts {
			if v.Err != nil {
				require.ErrorIs(t, v.Err, ErrNotStored)
				require.Empty(t, v.Entry)
				failed++
			}
		}
		if lost < 2 {
			require.Equal(t, 3, failed)
			require.Empty(t, f.labels(t), "an issuer that proves nothing")
			continue
		}
		require.Equal(t, 1, failed)
		require.Len(t, s.Entries(), 2)
		require.Len(t, f.labels(t), 2+2)
	}
}

// Whichever call fails, each entry is there or not, and what is there is reported.
func TestInjectAllFails(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	for kind, seen := range tokenKinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t)
			f.seen = seen
			s := a.open(t, f)
			for call := 1; ; call++ {
				require.Less(t, call, 50)
				all := a.candidates(3)
				f.arm(call)
				verdicts, err := injectAll(t, s, t.Context(), all)
				f.arm(0)
				if err == nil {
					require.Greater(t, call, 8)
					break
				}
				require.ErrorIs(t, err, errDevice)
				good := 0
				for _, v := range verdicts {
					if v.Err == nil {
						require.Contains(t, f.labels(t), v.Alias)
						good++
					} else {
						require.ErrorIs(t, v.Err, errDevice)
						require.NotContains(t, f.labels(t), v.Alias, "call %d", call)
					}
				}
				require.Len(t, s.Entries(), good)
				left, err := s.Leftovers(t.Context())
				require.NoError(t, err)
				require.Empty(t, left, "call %d", call)
				for _, e := range s.Entries() {
					require.NoError(t, s.Remove(t.Context(), e.Alias))
				}
				require.Empty(t, f.labels(t))
			}
		})
	}
}

// Another process may take an alias meanwhile: its object stays, and the entry of
// this one is taken back. The others are not concerned.
func TestInjectAllLosesRace(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	f.onCreate = func(_ context.Context, tmpl p11.CertificateTemplate) {
		if tmpl.Label == "host 1" {
			f.plant(t, "host 1", []byte("an identity"), a.lower.Client("terminal").Leaf)
		}
	}
	verdicts, err := injectAll(t, s, t.Context(), a.candidates(3))
	require.NoError(t, err)
	require.ErrorIs(t, verdicts["host 1"].Err, ErrExists)
	require.Len(t, s.Entries(), 2)
	objects, err := f.Certificates(t.Context(), p11.Filter{Label: "host 1"})
	require.NoError(t, err)
	require.Len(t, objects, 1)
	require.Equal(t, "an identity", string(objects[0].ID))
}

// A token that has no room after a certificate longer than a page does not have it.
func TestInjectAllSettles(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	f := newFaulty(t)
	s := a.open(t, f)
	names := make([]string, 0, 60)
	for i := range cap(names) {
		names = append(names, fmt.Sprintf("a-host-with-a-rather-long-name-%d.example.com", i))
	}
	long := a.lower.Server(names...).Leaf
	require.True(t, p11.MayBeCut(long.Raw))
	all := append(a.candidates(2), Candidate{"long", a.sent(long)})
	full := alias.TrustIssuerLabel(long.Raw)
	f.onCreate = func(_ context.Context, tmpl p11.CertificateTemplate) {
		f.failAt = 0
		if tmpl.Label == full {
			f.failAt = f.calls + 1
		}
	}
	verdicts, err := injectAll(t, s, t.Context(), all)
	require.ErrorIs(t, err, ErrNotStored)
	require.ErrorIs(t, verdicts["long"].Err, errDevice)
	require.Len(t, s.Entries(), 2)
	require.NotContains(t, f.labels(t), "long")
	f.onCreate = nil
	verdicts, err = injectAll(t, s, t.Context(), all)
	require.NoError(t, err)
	require.NoError(t, verdicts["long"].Err)
	require.Len(t, f.labels(t), 3+2)
}

// However many there are, the token is asked for all of its objects a few times for
// each batch.
func TestInjectAllScans(t *testing.T) {
	t.Parallel()
	a := newAcquirer()
	c := &scans{device: hsmtest.Token(t).Device()}
	s := a.open(t, c)
	for _, tt := range []struct{ candidates, scans int }{{3, 1 + 3}, {injectBatch, 1 + 2}, {injectBatch + 1, 1 + 2*2}} {
		c.n = 0
		_, err := injectAll(t, s, t.Context(), a.candidates(tt.candidates))
		require.NoError(t, err)
		require.Equal(t, tt.scans, c.n)
		c.n = 0
	}
}

// A scans counts how often a token is asked for objects.
type scans struct {
	device
	n int
}

func (c *scans) Certificates(ctx context.Context, filter p11.Filter) ([]p11.Certificate, error) {
	c.n++
	return c.device.Certificates(ctx, filter)
}

func (c *scans) Inventory(ctx context.Context, last *p11.Inventory) (*p11.Inventory, error) {
	c.n++
	return c.device.Inventory(ctx, last)
}

func (c *scans) Data(ctx context.Context, filter p11.DataFilter) ([]p11.Data, error) {
	c.n++
	return c.device.Data(ctx, filter)
}

func (c *scans) Keys(ctx context.Context, filter p11.Filter) ([]p11.Key, error) {
	c.n++
	return c.device.Keys(ctx, filter)
}
