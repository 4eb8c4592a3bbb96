// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// manySeeds, in the environment, has the property test play with new seeds too.
const manySeeds = "HSMTLS_SOAK"

// TestProperty does whatever comes to its mind with two stores on one token, and
// compares the token, the stores, and a store that is opened afresh with a simple
// model after each step. It stops at the first step that is wrong and shows all
// that led to it.
func TestProperty(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 2, 3}
	if os.Getenv(manySeeds) != "" {
		for range 40 {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for i, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed)
			w.device.reuses = i%3 == 2
			for range 200 {
				w.step(t)
			}
		})
	}
}

// A world is the token, the stores on it, and the model of both.
type world struct {
	*model
	*rand.Rand
	device *plainToken
	stores [2]*Store
	fresh  [2]bool // whether nothing was revoked, or allowed, since the store was refreshed
	names  map[fingerprint]string
	now    atomic.Pointer[time.Time]
	start  time.Time
	steps  []string
}

// A plainToken may be one that reuses handles.
type plainToken struct {
	device
	reuses bool
}

func (p *plainToken) KeepsHandles() bool { return !p.reuses && p.device.KeepsHandles() }

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{
		model: newModel(newCast(t)), Rand: rand.New(rand.NewPCG(seed, 0)), names: map[fingerprint]string{},
		device: &plainToken{device: hsmtest.Token(t).Device()},
	}
	for name, p := range w.parts {
		w.names[sumOf(p.cert)] = name
	}
	w.start = w.clock
	w.now.Store(&w.clock)
	for i := range w.stores {
		w.stores[i] = w.open(t)
		w.fresh[i] = true
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, after %d steps:\n%s", seed, len(w.steps), strings.Join(w.steps, "\n"))
		}
	})
	return w
}

func (w *world) open(t *testing.T) *Store {
	t.Helper()
	s, err := open(t.Context(), w.device, Config{
		Anchors: Anchors{Acquirer: certs(w.root.Certificate)},
		Now:     func() time.Time { return *w.now.Load() },
	})
	require.NoError(t, err)
	return s
}

func one[T any](w *world, of ...T) T { return of[w.IntN(len(of))] }

func (w *world) alias() string { return one(w, "one", "two", "three", "four", "five") }

func (w *world) part() string {
	return one(w, "alpha", "beta", "a1", "a1", "a2", "till", "brief", "b1", "b1", "direct", "stranger", "endorsed")
}

// step does something and looks what has become of it.
func (w *world) step(t *testing.T) {
	t.Helper()
	who := w.IntN(len(w.stores))
	do := one(w, w.injectOne, w.injectOne, w.injectMany, w.injectMany, w.injectEndorsed, w.removeOne, w.removeOne,
		w.injectCRL, w.deny, w.allow, w.refresh, w.plant, w.plant, w.vanish, w.jump, w.reopen)
	do(t, who)
	w.compareToken(t)
	w.compareStore(t, w.open(t))
}

// did notes a step before it is done.
func (w *world) did(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

// refreshed says that a store has read the token, and compares.
func (w *world) refreshed(t *testing.T, who int) {
	t.Helper()
	w.fresh[who] = true
	w.compareStore(t, w.stores[who])
}

// revoking says that a store has changed what is revoked.
func (w *world) revoking(t *testing.T, who int) {
	t.Helper()
	w.fresh = [2]bool{}
	w.refreshed(t, who)
}

func (w *world) agree(t *testing.T, want, got error) {
	t.Helper()
	var refused *RejectedError
	switch {
	case want == nil:
		require.NoError(t, got)
	case errors.Is(want, errRefused):
		require.ErrorAs(t, got, &refused)
	default:
		require.ErrorIs(t, got, want)
	}
}

func (w *world) injectOne(t *testing.T, who int) { w.bring(t, who, w.part(), false) }

func (w *world) injectEndorsed(t *testing.T, who int) { w.bring(t, who, "endorsed", true) }

// bring injects one. A store that has not read the token since something was revoked
// may not know of it; what it does then is as good as it can be.
func (w *world) bring(t *testing.T, who int, name string, endorsed bool) {
	t.Helper()
	label := w.alias()
	w.did("%d: inject %q %s, endorsed %t", who, label, name, endorsed)
	var err error
	if endorsed {
		_, err = w.stores[who].InjectEndorsed(t.Context(), label, w.parts[name].cert, w.parts[name].cms)
	} else {
		_, err = w.stores[who].Inject(t.Context(), label, w.chain(name)...)
	}
	if !w.fresh[who] {
		w.follow(label, name, endorsed, err)
		return
	}
	w.agree(t, w.inject(label, name, endorsed), err)
	e, known := w.stores[who].snapshot().byCertificate[string(w.parts[name].cert.Raw)]
	if err == nil {
		require.True(t, known)
		require.Equal(t, label, e.Alias)
	}
}

// follow has the model do what a store did that does not know what is revoked.
func (w *world) follow(label, name string, endorsed bool, did error) {
	var refused *RejectedError
	if errors.As(did, &refused) {
		return
	}
	denied, crl := w.denied, w.crl
	w.denied, w.crl = nil, nil
	_ = w.inject(label, name, endorsed)
	w.denied, w.crl = denied, crl
}

func (w *world) injectMany(t *testing.T, who int) {
	var all []Candidate
	var want []error
	for range 1 + w.IntN(4) {
		c, name := Candidate{Alias: w.alias()}, w.part()
		c.Chain = w.chain(name)
		all = append(all, c)
		w.did("%d: inject among others %q %s", who, c.Alias, name)
		want = append(want, w.inject(c.Alias, name, false))
	}
	var got []Verdict
	require.NoError(t, w.stores[who].InjectAll(t.Context(), slices.Values(all), func(v Verdict) { got = append(got, v) }))
	require.Len(t, got, len(all))
	for i, v := range got {
		require.Equal(t, all[i].Alias, v.Alias)
		w.agree(t, want[i], v.Err)
	}
	w.refreshed(t, who)
}

func (w *world) removeOne(t *testing.T, who int) {
	label := w.alias()
	w.did("%d: remove %q", who, label)
	err := w.remove(label)
	w.agree(t, err, w.stores[who].Remove(t.Context(), label))
	if err == nil {
		w.refreshed(t, who)
	}
}

func (w *world) injectCRL(t *testing.T, who int) {
	by := one(w, "root", "alpha")
	number := w.IntN(len(w.crls[by]))
	w.did("%d: refresh and inject CRL %d of %s", who, number, by)
	require.NoError(t, w.stores[who].Refresh(t.Context()))
	_, err := w.stores[who].InjectCRL(t.Context(), w.crls[by][number])
	last, ok := w.crl[by]
	if by == "alpha" && (!w.knows(by) || w.revoked(by)) || ok && number < last {
		var refused *CRLError
		require.ErrorAs(t, err, &refused)
		w.refreshed(t, who)
		return
	}
	require.NoError(t, err)
	w.crl[by] = number
	w.revoking(t, who)
}

func (w *world) deny(t *testing.T, who int) {
	name := one(w, w.part(), w.part(), "gamma", "notary")
	w.did("%d: deny %s", who, name)
	require.NoError(t, w.stores[who].Deny(t.Context(), w.parts[name].cert, "because"))
	w.noted[name], w.denied[name] = true, true
	w.revoking(t, who)
}

func (w *world) allow(t *testing.T, who int) {
	name := one(w, w.part(), "gamma", "notary")
	for denied := range w.denied {
		name = min(name, denied) // mostly one that is denied, and always the same
	}
	w.did("%d: allow %s", who, name)
	err := w.stores[who].Allow(t.Context(), sumOf(w.parts[name].cert))
	if !w.denied[name] {
		require.ErrorIs(t, err, ErrNotFound)
		return
	}
	require.NoError(t, err)
	delete(w.denied, name)
	w.revoking(t, who)
}

func (w *world) refresh(t *testing.T, who int) {
	w.did("%d: refresh", who)
	require.NoError(t, w.stores[who].Refresh(t.Context()))
	w.refreshed(t, who)
}

func (w *world) reopen(t *testing.T, who int) {
	w.did("%d: open", who)
	w.stores[who] = w.open(t)
	w.refreshed(t, who)
}

// plant writes a public object, as somebody may who has no PIN.
func (w *world) plant(t *testing.T, _ int) {
	o := thing{one(w, kindEntry, kindEntry, kindIssuer, kindForeign), w.alias(), w.part(), false}
	c := w.parts[o.part].cert
	label, id := o.label, alias.TrustID(c.Raw)
	switch o.kind {
	case kindIssuer:
		if !c.IsCA {
			o.part = "gamma"
			c = w.parts[o.part].cert
		}
		o.label, label, id = "", alias.TrustIssuerLabel(c.Raw), alias.TrustID(c.Raw)
	case kindForeign:
		id = []byte("some id")
	}
	w.did("plant %v", o)
	_, err := w.device.CreateCertificate(t.Context(), p11.CertificateTemplate{Label: label, ID: id, Value: c.Raw})
	require.NoError(t, err)
	w.things = append(w.things, o)
}

// vanish has an object destroyed by somebody else.
func (w *world) vanish(t *testing.T, _ int) {
	if len(w.things) == 0 {
		return
	}
	at := w.IntN(len(w.things))
	w.did("destroy %v", w.things[at])
	objects, err := w.device.Certificates(t.Context(), p11.Filter{})
	require.NoError(t, err)
	gone := slices.IndexFunc(objects, func(o p11.Certificate) bool { return w.thing(o) == w.things[at] })
	require.NotEqual(t, -1, gone)
	require.NoError(t, w.device.Destroy(t.Context(), objects[gone].Object))
	w.things = slices.Delete(w.things, at, at+1)
}

func (w *world) jump(_ *testing.T, _ int) {
	by := one(w, 0, 0, 3*time.Hour, 2*365*24*time.Hour)
	w.did("clock at %v", by)
	now := w.start.Add(by)
	w.clock = now
	w.now.Store(&now)
}

// thing is what the model has for an object.
func (w *world) thing(o p11.Certificate) thing {
	f := parse(o)
	is := thing{kindForeign, o.Label, w.names[f.sum], o.Private}
	switch {
	case f.marked && o.Label == alias.TrustIssuerLabel(o.Value):
		is.kind, is.label = kindIssuer, ""
	case f.marked:
		is.kind = kindEntry
	}
	return is
}

func (w *world) compareToken(t *testing.T) {
	t.Helper()
	objects, err := w.device.Certificates(context.Background(), p11.Filter{})
	require.NoError(t, err)
	var things []thing
	for _, o := range objects {
		things = append(things, w.thing(o))
	}
	require.ElementsMatch(t, w.things, things)
	data, err := w.device.Data(context.Background(), p11.DataFilter{})
	require.NoError(t, err)
	var want, got []string
	for _, d := range data {
		got = append(got, d.Label)
	}
	for name := range w.endorsed {
		want = append(want, alias.EndorsementLabel(w.parts[name].cert.Raw))
	}
	for name := range w.noted {
		sum := sumOf(w.parts[name].cert)
		want = append(want, alias.DenyLabel(sum[:]))
	}
	for by := range w.crl {
		id := issuerIDOf(w.root.Certificate)
		if by != "root" {
			id = issuerIDOf(w.parts[by].cert)
		}
		want = append(want, alias.CRLLabel(id[:]), alias.CRLMarkLabel(id[:]))
	}
	require.ElementsMatch(t, want, got)
}

// compareStore looks at a store that has just read the token.
func (w *world) compareStore(t *testing.T, s *Store) {
	t.Helper()
	entries, rejected := w.sorted()
	got := map[string]string{}
	for _, e := range s.Entries() {
		got[e.Alias] = w.names[sumOf(e.Certificate)]
	}
	require.Equal(t, entries, got)
	var refused []string
	for _, r := range s.Rejected() {
		if r.Certificate == nil {
			continue // a CRL whose issuer is not there, which concerns nobody
		}
		kind := "refused"
		switch {
		case errors.Is(r.Err, ErrForeign):
			kind = "foreign"
		case errors.Is(r.Err, ErrAmbiguous):
			kind = "ambiguous"
		}
		refused = append(refused, fmt.Sprint(kind, " ", r.Label, " ", w.names[sumOf(r.Certificate)]))
	}
	slices.Sort(refused)
	require.Equal(t, rejected, refused)
	var trusted []string
	for _, name := range w.leaves {
		if _, err := s.Verify(w.chain(name), "", w.parts[name].usage, w.clock); err == nil {
			trusted = append(trusted, name)
		}
	}
	require.Equal(t, w.trusts(entries), trusted)
}
