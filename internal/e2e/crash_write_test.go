// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

const sessionReadOnly = 0xb5 // CKR_SESSION_READ_ONLY

// TestRefusedWrite has the token refuse each write of an operation in turn. If
// the operation fails before it takes effect, the token holds what it held.
func TestRefusedWrite(t *testing.T) {
	t.Parallel()
	for op, run := range crashOps {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			before := s.attempt(t, func(context.Context, *crashed) error { return nil }).account
			s.ResetCalls()
			after := s.attempt(t, run)
			require.NoError(t, after.err)
			writes := map[string]int{}
			for _, f := range []string{"C_CreateObject", "C_DestroyObject", "C_GenerateKeyPair"} {
				writes[f] = s.Calls(f)
			}
			for function, n := range writes {
				for i := range n {
					for _, code := range []uint{faultp11.DeviceMemory, faultp11.DeviceError, sessionReadOnly} {
						s.reset(t)
						s.Inject(function, faultp11.Fault{Mode: faultp11.Fail, Code: code, After: i})
						got := s.attempt(t, run)
						s.Clear(function)
						if op == batchOp {
							requireSome(t, got, before, after.account)
							continue
						}
						requireOldOrNew(t, function, got, before, after.account)
					}
				}
			}
		})
	}
}

// An attempt is an operation and what was found afterwards.
type attempt struct {
	err     error
	account account
}

// attempt runs an operation in this process, on a token opened for it.
func (s *scene) attempt(t *testing.T, run func(context.Context, *crashed) error) (a attempt) {
	t.Helper()
	c, err := s.open()
	require.NoError(t, err)
	defer c.token.Close()
	a.err = run(t.Context(), c)
	a.account, err = c.account(t.Context())
	require.NoError(t, err)
	return a
}

func requireOldOrNew(t *testing.T, function string, got attempt, before, after account) {
	t.Helper()
	if got.err == nil {
		require.Equal(t, after.View, got.account.View)
		return
	}
	requireTyped(t, got.err)
	if function != "C_DestroyObject" {
		require.Equal(t, before, got.account, "%v", got.err)
		return
	}
	if viewString(got.account.View) != viewString(after.View) {
		require.Equal(t, before.View, got.account.View, "%v", got.err)
	}
}

// requireSome is requireOldOrNew for a batch. Of what was refused nothing stays.
func requireSome(t *testing.T, got attempt, before, after account) {
	t.Helper()
	if got.err == nil {
		require.Equal(t, after, got.account)
		return
	}
	requireTyped(t, got.err)
	require.NotEqual(t, after.View, got.account.View)
	requireEachOldOrNew(t, got.account.View, before.View, after.View)
	require.Empty(t, got.account.Leftovers)
}

// requireTyped asserts that an error is one of the stores' own.
func requireTyped(t *testing.T, err error) {
	t.Helper()
	var k *keystore.Error
	var s *truststore.Error
	require.True(t, errors.As(err, &k) || errors.As(err, &s), "%v", err)
}

// TestTruncated cuts the files that SoftHSM keeps new objects in, as a kill in
// the middle of its own writing does. Nothing else is affected, and what was to
// be written can be written again.
func TestTruncated(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	before := s.attempt(t, func(context.Context, *crashed) error { return nil }).account
	known := files(t, s.tokens())
	for _, op := range []string{"inject", "trust"} {
		for _, parts := range []int64{0, 1} {
			s.reset(t)
			after := s.attempt(t, crashOps[op])
			require.NoError(t, after.err)
			cut := 0
			for path, size := range files(t, s.tokens()) {
				if _, old := known[path]; !old {
					require.NoError(t, os.Truncate(path, size*parts/2))
					cut++
				}
			}
			require.GreaterOrEqual(t, cut, 2)
			found := look(t, s.job)
			require.Equal(t, before.View, found[0].View, "the cut objects are not seen")
			require.Equal(t, before.Objects, found[1].Objects)
			again := s.attempt(t, crashOps[op])
			require.NoError(t, again.err)
			require.Equal(t, after.account, again.account)
		}
	}
}

// files returns the object files below dir, with their sizes.
func files(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".object" {
			return err
		}
		info, err := d.Info()
		found[path] = info.Size()
		return err
	}))
	return found
}

// contend writes and removes under aliases that another process uses too. That
// an operation is refused is fine, if it says so with an error of the stores.
func contend(ctx context.Context, c *crashed) error {
	for i := range c.Rounds {
		chain := c.chain([]string{"renewed", "present"}[i%2])
		_, trusted := c.trust.Inject(ctx, "new host", c.chain("new host")...)
		for _, err := range []error{
			c.keys.Inject(ctx, "second", "terminal", c.chain("second")),
			c.keys.Replace(ctx, "terminal_pub", chain),
			trusted,
			c.trust.Remove(ctx, "new host"),
			c.keys.DeleteCertificate(ctx, "second"),
			c.keys.Inject(ctx, fmt.Sprint("own ", os.Getpid()), "terminal", c.chain("second")),
			c.keys.DeleteCertificate(ctx, fmt.Sprint("own ", os.Getpid())),
		} {
			var k *keystore.Error
			var s *truststore.Error
			if err != nil && !errors.As(err, &k) && !errors.As(err, &s) {
				return err
			}
		}
	}
	return nil
}

// TestTwoWriters has two processes write at once. At the end every alias leads to
// one thing, and what they have left over can be removed.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.Op, s.Rounds = "contend", 5
	if os.Getenv(everyCall) != "" {
		s.Rounds = 50
	}
	one, in, out := process(t, s.job)
	_, err := out.ReadString('\n')
	require.NoError(t, err)
	require.False(t, crash(t, s.job, func() {
		_, err := in.Write([]byte("\n"))
		require.NoError(t, err)
	}))
	_, err = out.WriteTo(os.Stderr)
	require.NoError(t, err)
	require.NoError(t, one.Wait())
	found := look(t, s.job)
	require.Empty(t, found[1].Leftovers)
	require.Equal(t, found[0].View, found[1].View)
	require.Len(t, found[1].View.Identities["terminal_pub"], 2)
	require.Contains(t, found[1].View.Entries, "host")
	t.Logf("left over: %v", found[0].Leftovers)
}
