// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package e2e

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// fillable gives the token store 512 KiB of disk. Where mounting is not allowed,
// the module acknowledges writes and drops them instead, as SoftHSM does then.
func fillable(t *testing.T, m *faultp11.Module) (free func()) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(m.Path), "tokens")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k,mode=0700"); err != nil {
		t.Logf("no tmpfs (%v): writes are dropped by the module", err)
		m.Inject("C_CreateObject", faultp11.Fault{Mode: faultp11.Forget, Times: faultp11.ForEver, After: 40})
		return func() { m.Clear("C_CreateObject") }
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	ballast := filepath.Join(dir, "ballast") // SoftHSM looks at directories only
	require.NoError(t, os.WriteFile(ballast, make([]byte, 128<<10), 0o600))
	return func() { require.NoError(t, os.Remove(ballast)) }
}

// TestFullDisk injects until the disk is full. What was acknowledged is there in
// a fresh process, and nothing else; with room again, writing works again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, names := range []int{1, 70} { // objects within a page, and of several
		t.Run(fmt.Sprint(names, " names"), func(t *testing.T) {
			t.Parallel()
			fillDisk(t, names)
		})
	}
}

func fillDisk(t *testing.T, names int) {
	m := faultp11.New(t)
	free := fillable(t, m)
	cfg := m.Config(t)
	root := testpki.NewRoot("acquirer root")
	s := &scene{Module: m, job: job{Module: m.Path, Token: cfg.Token, Certs: map[string][][]byte{}}}
	s.keep("acquirer root", root.Certificate)
	s.keep("pairing root", testpki.NewRoot("pairing root").Certificate)
	c, err := s.open()
	require.NoError(t, err)
	key, err := c.keys.Generate(t.Context(), "terminal", keystore.P256)
	require.NoError(t, err)
	want := map[string][]string{}
	refused := 0
	for i := 0; refused < 5; i++ {
		require.Less(t, i, 500, "the disk does not become full")
		ca := root.NewIntermediate(fmt.Sprint("issuer ", i))
		template := testpki.ClientTemplate(fmt.Sprint("unit ", i))
		for n := range names - 1 {
			template.DNSNames = append(template.DNSNames, fmt.Sprintf("%s-%d.example", strings.Repeat("n", 50), n))
		}
		leaf := ca.Issue(template, key.Public())
		alias := fmt.Sprint("unit ", i)
		err := c.keys.Inject(t.Context(), alias, "terminal", []*x509.Certificate{leaf})
		if err != nil {
			requireTyped(t, err)
			refused++
			continue
		}
		want[alias] = []string{short(leaf)}
	}
	require.NotEmpty(t, want)
	found := look(t, s.job)
	require.Equal(t, want, found[0].View.Identities)
	require.Empty(t, found[0].Leftovers)
	require.Len(t, found[0].Objects, len(want)+2)

	free()
	leaf := root.Issue(testpki.ClientTemplate("late"), key.Public())
	s.keep("late", leaf)
	require.NoError(t, c.keys.Inject(t.Context(), "late", "terminal", s.chain("late")))
	require.NoError(t, c.token.Close())
	require.Contains(t, look(t, s.job)[0].View.Identities, "late")
	t.Logf("%d acknowledged, %d refused", len(want), refused)
}
