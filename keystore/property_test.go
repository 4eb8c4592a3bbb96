// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/alias"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// manySeeds, in the environment, has the property test play with new seeds too.
const manySeeds = "HSMTLS_SOAK"

// TestProperty does whatever comes to its mind with two stores on one token, and
// compares the token, the stores, and a third one that knows nothing yet with a
// simple model after each step. It stops at the first step that is wrong and shows
// all that led to it.
func TestProperty(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 2}
	if os.Getenv(manySeeds) != "" {
		for range 20 {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed)
			for range 100 {
				w.step(t)
			}
		})
	}
}

// A held identity is one of the model.
type held struct {
	key   string
	chain []*x509.Certificate
}

// A world is the token, the stores on it, and what they should make of it.
type world struct {
	*rand.Rand
	token  *hsm.Token
	stores [2]*Store
	cas    []*testpki.CA
	renews int
	steps  []string

	keys       map[string]*Key
	identities map[string]held
	past       map[string][][]*x509.Certificate // chains that each alias has led to
	planted    map[string]p11.Object            // trusted entries, by label
	current    [2]bool                          // whether the other store has written nothing since this one looked
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	root := testpki.NewRoot("root")
	upper := root.NewIntermediate("upper")
	w := &world{
		Rand: rand.New(rand.NewPCG(seed, 0)), token: hsmtest.Token(t), current: [2]bool{true, true},
		cas:  []*testpki.CA{root, upper, upper.NewIntermediate("lower"), testpki.NewRoot("other root").NewIntermediate("other")},
		keys: map[string]*Key{}, identities: map[string]held{}, past: map[string][][]*x509.Certificate{},
		planted: map[string]p11.Object{},
	}
	for i := range w.stores {
		w.stores[i] = New(w.token)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, after %d steps:\n%s", seed, len(w.steps), strings.Join(w.steps, "\n"))
		}
	})
	return w
}

func pick[T any](w *world, of ...T) T { return of[w.IntN(len(of))] }

func (w *world) keyAlias() string { return pick(w, "k1", "k2", "k3") }

func (w *world) certAlias() string { return pick(w, "c1", "c2", "c3", "k1") }

func (w *world) did(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

func (w *world) step(t *testing.T) {
	t.Helper()
	who := w.IntN(len(w.stores))
	do := pick(w, w.generate, w.generate, w.inject, w.inject, w.inject, w.injectAgain, w.replace, w.replace, w.renew, w.renew,
		w.deleteCertificate, w.deleteKey, w.identity, w.identity, w.refresh, w.plant)
	do(t, who)
	w.compareToken(t)
	w.compareStore(t)
}

// agree compares errors; nil wants none.
func agree(t *testing.T, want, got error) {
	t.Helper()
	if want == nil {
		require.NoError(t, got)
		return
	}
	require.ErrorIs(t, got, want)
	var typed *Error
	require.ErrorAs(t, got, &typed)
}

// issue returns a chain for a key, or for a key that nobody has.
func (w *world) issue(name, key string) (chain []*x509.Certificate, ca *testpki.CA) {
	ca = pick(w, w.cas...)
	if k := w.keys[key]; k != nil {
		return issue(ca, name, k.Public()), ca
	}
	return append([]*x509.Certificate{ca.Client(name).Leaf}, ca.Chain()...), ca
}

// wrote says that a store has given an alias another chain; nil for none.
func (w *world) wrote(who int, name string, h *held) {
	w.current = [2]bool{}
	w.current[who] = true
	if h == nil {
		delete(w.identities, name)
		return
	}
	w.identities[name] = *h
	w.past[name] = append(w.past[name], h.chain)
}

func (w *world) generate(t *testing.T, who int) {
	name := w.keyAlias()
	w.did("%d: generate %q", who, name)
	k, err := w.stores[who].Generate(t.Context(), name, P256)
	if w.keys[name] != nil {
		agree(t, ErrExists, err)
		return
	}
	agree(t, nil, err)
	w.keys[name] = k
}

func (w *world) inject(t *testing.T, who int) {
	name, key := w.certAlias(), w.keyAlias()
	of := pick(w, key, key, key, w.keyAlias())
	chain, ca := w.issue(name, of)
	w.did("%d: inject %q, a certificate of key %q by %q, for key %q", who, name, of, ca.Certificate.Subject.CommonName, key)
	err := w.stores[who].Inject(t.Context(), name, key, chain)
	_, taken := w.identities[name]
	_, planted := w.planted[name]
	switch {
	case w.keys[key] == nil:
		agree(t, ErrNotFound, err)
	case key != of:
		agree(t, ErrMismatch, err)
	case taken || planted:
		agree(t, ErrExists, err)
	default:
		agree(t, nil, err)
		w.wrote(who, name, &held{key, chain})
	}
}

func (w *world) injectAgain(t *testing.T, who int) {
	name := w.certAlias()
	h, ok := w.identities[name]
	if _, planted := w.planted[name]; planted || !ok {
		return
	}
	w.did("%d: inject %q again", who, name)
	agree(t, nil, w.stores[who].Inject(t.Context(), name, h.key, h.chain))
}

func (w *world) replace(t *testing.T, who int) {
	name := w.certAlias()
	h, ok := w.identities[name]
	of := pick(w, h.key, h.key, h.key, w.keyAlias())
	chain, ca := w.issue(name, of)
	if ok && w.IntN(6) == 0 {
		chain, of = h.chain, h.key
	}
	w.did("%d: replace %q by a certificate of key %q by %q", who, name, of, ca.Certificate.Subject.CommonName)
	err := w.stores[who].Replace(t.Context(), name, chain)
	switch {
	case !ok:
		agree(t, ErrNotFound, err)
	case of != h.key:
		agree(t, ErrMismatch, err)
	default:
		agree(t, nil, err)
		w.wrote(who, name, &held{h.key, chain})
	}
}

// renew has a CA answer that is the present one, or not, and with a certificate that
// is later, or not.
func (w *world) renew(t *testing.T, who int) {
	name := w.certAlias()
	h, ok := w.identities[name]
	ca, earlier := pick(w, w.cas...), w.IntN(4) == 0
	if ok && w.IntN(3) > 0 {
		ca = w.cas[slices.IndexFunc(w.cas, func(c *testpki.CA) bool { return issued(c.Certificate, h.chain[0]) })]
	}
	w.refresh(t, who)
	w.did("%d: renew %q by %q, earlier %t", who, name, ca.Certificate.Subject.CommonName, earlier)
	template := later(name)
	w.renews++
	template.NotAfter = template.NotAfter.Add(time.Duration(w.renews) * time.Hour)
	if earlier {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	var r Renewal
	if root := w.cas[0].Certificate; ok && issued(root, h.chain[0]) {
		r.Issuers = append(r.Issuers, root) // which is not on the token
	}
	id, err := w.stores[who].Renew(t.Context(), name, r, answering(ca, template))
	switch {
	case !ok:
		agree(t, ErrNotFound, err)
	case !issued(ca.Certificate, h.chain[0]):
		agree(t, ErrIssuer, err)
	case earlier:
		agree(t, ErrNotLater, err)
	default:
		agree(t, nil, err)
		require.Len(t, id.Chain, 1+len(ca.Chain()))
		w.wrote(who, name, &held{h.key, id.Chain})
	}
}

func (w *world) deleteCertificate(t *testing.T, who int) {
	name := w.certAlias()
	w.did("%d: delete certificate %q", who, name)
	err := w.stores[who].DeleteCertificate(t.Context(), name)
	if _, ok := w.identities[name]; !ok {
		agree(t, ErrNotFound, err)
		return
	}
	agree(t, nil, err)
	w.wrote(who, name, nil)
}

func (w *world) deleteKey(t *testing.T, who int) {
	name := w.keyAlias()
	w.did("%d: delete key %q", who, name)
	err := w.stores[who].DeleteKey(t.Context(), name)
	used := false
	for _, h := range w.identities {
		used = used || h.key == name
	}
	switch {
	case w.keys[name] == nil:
		agree(t, ErrNotFound, err)
	case used:
		agree(t, ErrInUse, err)
	default:
		agree(t, nil, err)
		delete(w.keys, name)
	}
}

// identity asks a store, which may remember what the other one has changed since.
func (w *world) identity(t *testing.T, who int) {
	name := w.certAlias()
	w.did("%d: identity %q", who, name)
	id, err := w.stores[who].Identity(t.Context(), name)
	h, ok := w.identities[name]
	switch {
	case w.current[who] && ok:
		agree(t, nil, err)
		require.Equal(t, h.chain, id.Chain)
	case w.current[who]:
		agree(t, ErrNotFound, err)
	case err != nil:
		require.False(t, ok)
		agree(t, ErrNotFound, err)
	default:
		require.True(t, slices.ContainsFunc(w.past[name], func(c []*x509.Certificate) bool {
			return slices.EqualFunc(c, id.Chain, (*x509.Certificate).Equal)
		}))
	}
}

func (w *world) refresh(t *testing.T, who int) {
	w.did("%d: refresh", who)
	if err := w.stores[who].Refresh(t.Context()); err != nil {
		require.True(t, errors.Is(err, ErrNotFound) || errors.Is(err, ErrMismatch))
		require.False(t, w.current[who])
	}
	w.current[who] = true
}

// plant writes a trusted entry under the alias of an identity, or removes it.
func (w *world) plant(t *testing.T, _ int) {
	name := w.certAlias()
	if o, ok := w.planted[name]; ok {
		w.did("take %q away", name)
		require.NoError(t, w.token.Device().Destroy(t.Context(), o))
		delete(w.planted, name)
		return
	}
	w.did("plant %q", name)
	c := w.cas[0].Server("planted.example.com").Leaf
	o, err := w.token.Device().CreateCertificate(t.Context(), p11.CertificateTemplate{Label: name, ID: alias.TrustID(c.Raw), Value: c.Raw})
	require.NoError(t, err)
	w.planted[name] = o.Object
}

func (w *world) compareToken(t *testing.T) {
	t.Helper()
	ctx, device := context.Background(), w.token.Device()
	objects, err := device.Certificates(ctx, p11.Filter{})
	require.NoError(t, err)
	line := func(label string, der []byte) string { return fmt.Sprintf("%s %x", label, sha256.Sum256(der)) }
	want, got := map[string]bool{}, []string(nil)
	for _, o := range objects {
		if !alias.IsTrustID(o.ID) {
			got = append(got, line(o.Label, o.Value))
		}
	}
	for name, h := range w.identities {
		want[line(name, h.chain[0].Raw)] = true
		for _, c := range h.chain[1:] {
			want[line(alias.IssuerLabel(c.Raw), c.Raw)] = true
		}
	}
	var lines []string
	for l := range want {
		lines = append(lines, l)
	}
	require.ElementsMatch(t, lines, got)
	require.Len(t, objects, len(lines)+len(w.planted))
	public, err := device.PublicKeys(ctx, p11.Filter{})
	require.NoError(t, err)
	require.Len(t, public, len(w.keys))
}

func (w *world) compareStore(t *testing.T) {
	t.Helper()
	ctx, s := context.Background(), New(w.token)
	keys, err := s.Keys(ctx)
	require.NoError(t, err)
	require.Len(t, keys, len(w.keys))
	for _, k := range keys {
		require.NoError(t, k.Problem)
		require.True(t, samePublic(w.keys[k.Alias].Public(), k.Public))
	}
	infos, err := s.Identities(ctx)
	require.NoError(t, err)
	require.Len(t, infos, len(w.identities))
	for _, i := range infos {
		h := w.identities[i.Alias]
		require.NoError(t, i.Problem)
		require.Equal(t, h.key, i.KeyAlias)
		require.Equal(t, h.chain, i.Chain)
		id, err := s.Identity(ctx, i.Alias)
		require.NoError(t, err)
		require.Equal(t, h.chain, id.Chain)
	}
	_, err = s.Identity(ctx, "nobody")
	require.True(t, errors.Is(err, ErrNotFound))
	left, err := s.Leftovers(ctx)
	require.NoError(t, err)
	require.Empty(t, left)
}
