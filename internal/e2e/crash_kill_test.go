// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// crashOps are the operations that are killed.
var crashOps = map[string]func(context.Context, *crashed) error{
	"generate": func(ctx context.Context, c *crashed) error {
		_, err := c.keys.Generate(ctx, "new", keystore.P256)
		return err
	},
	"inject": func(ctx context.Context, c *crashed) error {
		return c.keys.Inject(ctx, "second", "terminal", c.chain("second"))
	},
	"inject authority": func(ctx context.Context, c *crashed) error {
		return c.keys.InjectAuthority(ctx, "authority", "ca", c.chain("authority"))
	},
	"replace": func(ctx context.Context, c *crashed) error {
		return c.keys.Replace(ctx, "terminal_pub", c.chain("renewed"))
	},
	"delete certificate": func(ctx context.Context, c *crashed) error {
		return c.keys.DeleteCertificate(ctx, "terminal_pub")
	},
	"delete key": func(ctx context.Context, c *crashed) error { return c.keys.DeleteKey(ctx, "spare") },
	"trust": func(ctx context.Context, c *crashed) error {
		_, err := c.trust.Inject(ctx, "new host", c.chain("new host")...)
		return err
	},
	batchOp: func(ctx context.Context, c *crashed) error {
		refused := []error(nil)
		err := c.trust.InjectAll(ctx, slices.Values(c.batch()), func(v truststore.Verdict) { refused = append(refused, v.Err) })
		return errors.Join(append(refused, err)...)
	},
	"distrust":      func(ctx context.Context, c *crashed) error { return c.trust.Remove(ctx, "host") },
	"add client":    func(ctx context.Context, c *crashed) error { return c.pos.Add(ctx, "2", c.chain("new till")) },
	"remove client": func(ctx context.Context, c *crashed) error { return c.pos.Remove(ctx, c.chain("till")[0]) },
}

// batchOp is made of several that are each all or nothing.
const batchOp = "trust many"

// batch is what it injects: two entries with issuers in common, and one that is
// longer than a page.
func (j job) batch() (all []truststore.Candidate) {
	for _, name := range []string{"batch 1", "batch 2", "batch long"} {
		all = append(all, truststore.Candidate{Alias: name, Chain: j.chain(name)})
	}
	return all
}

// everyCall, in the environment, has the processes killed at every one of their
// calls. Without it they are killed before and after each call that writes, and
// at calls in between, where the token is as the last write has left it.
const everyCall = "HSMTLS_SOAK"

// between is how many calls lie between two kills where nothing is written.
const between = 25

// TestKill kills the process that writes, before and after its calls to the
// PKCS#11 module. A fresh process then finds the old state or the new one, sees
// what is left over, and removes it.
func TestKill(t *testing.T) {
	t.Parallel()
	for op := range crashOps {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			newKilling(t, op).all(t)
		})
	}
}

// A killing is an operation that is killed again and again.
type killing struct {
	*scene
	before, after account
	calls         int            // of the operation
	writes        map[string]int // likewise, by function
	kills         int
	states, left  map[string]int // what was found
}

// newKilling runs the operation once, to know what comes of it.
func newKilling(t *testing.T, op string) *killing {
	t.Helper()
	k := &killing{scene: newScene(t), writes: map[string]int{}, states: map[string]int{}, left: map[string]int{}}
	k.Op = op
	k.before = look(t, k.job)[1]
	require.False(t, crash(t, k.job, k.ResetCalls))
	k.calls = k.Total()
	for _, function := range []string{"C_CreateObject", "C_DestroyObject", "C_GenerateKeyPair"} {
		k.writes[function] = k.Calls(function)
	}
	k.after = look(t, k.job)[1]
	require.NotEqual(t, k.before.View, k.after.View)
	require.Empty(t, k.before.Leftovers)
	require.Empty(t, k.after.Leftovers)
	return k
}

func (k *killing) all(t *testing.T) {
	step := between
	if os.Getenv(everyCall) != "" {
		step = 1
	}
	for n := 1; n <= k.calls; n += step {
		k.once(t, func() { k.KillAt(n) })
		k.once(t, func() { k.KillPast(n) })
	}
	k.KillAt(0)
	for function, calls := range k.writes {
		for n := range calls {
			for _, mode := range []faultp11.Mode{faultp11.Kill, faultp11.KillAfter} {
				k.once(t, func() { k.Inject(function, faultp11.Fault{Mode: mode, After: n}) })
			}
		}
		k.Clear(function)
	}
	require.Positive(t, k.states["old"])
	require.Positive(t, k.states["new"])
	t.Logf("%s: %d calls, writes %v, %d kills, states %v, left over %v", k.Op, k.calls, k.writes, k.kills, k.states, k.left)
}

// once kills the operation where arm says, and has a fresh process look. A
// process may make fewer calls than the one before, and live.
func (k *killing) once(t *testing.T, arm func()) {
	t.Helper()
	k.reset(t)
	if !crash(t, k.job, arm) {
		return
	}
	k.kills++
	if k.untouched(t) {
		k.states["old"]++
		return
	}
	found := look(t, k.job)
	want, state := k.before, "old"
	switch {
	case viewString(found[0].View) == viewString(k.after.View):
		want, state = k.after, "new"
	case k.Op == batchOp && viewString(found[0].View) != viewString(k.before.View):
		k.states["some"]++
		k.goOn(t, found)
		return
	}
	k.states[state]++
	require.Equal(t, want.View, found[0].View)
	require.Equal(t, want.View, found[1].View, "after cleaning")
	require.Empty(t, found[1].Leftovers)
	require.Equal(t, want.Objects, found[1].Objects)
	if len(found[0].Leftovers) == 0 {
		require.Equal(t, want.Objects, found[0].Objects, "nothing is left without being reported")
	}
	for _, l := range found[0].Leftovers {
		k.left[l]++
	}
}

// goOn looks at a batch that was killed in the middle, and runs it again, which
// brings it to its end.
func (k *killing) goOn(t *testing.T, found [2]account) {
	t.Helper()
	requireEachOldOrNew(t, found[0].View, k.before.View, k.after.View)
	require.Equal(t, found[0].View, found[1].View, "after cleaning")
	require.Empty(t, found[1].Leftovers)
	k.Clear("C_CreateObject")
	k.Clear("C_DestroyObject")
	require.False(t, crash(t, k.job, func() { k.KillAt(0) }))
	again := look(t, k.job)
	require.Equal(t, k.after, again[0])
}

// requireEachOldOrNew asserts that some of the entries that are in after alone are
// there, as they are there, and that everything else is as before.
func requireEachOldOrNew(t *testing.T, got, before, after view) {
	t.Helper()
	entries := maps.Clone(got.Entries)
	maps.DeleteFunc(entries, func(alias, cert string) bool {
		return before.Entries[alias] == "" && after.Entries[alias] == cert
	})
	got.Entries = entries
	require.Equal(t, before, got)
}
