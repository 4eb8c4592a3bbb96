// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
)

const day = 24 * time.Hour

// TestExpiredPOS lists, revokes and prunes POS whose certificates have expired.
func TestExpiredPOS(t *testing.T) {
	t.Parallel()
	cfg := hsmtest.Config(t)
	tok := hsmtest.Open(t, cfg)
	issuer := oldAuthority(t, tok)
	at := time.Now().Add(-100 * day)
	trust, err := truststore.Open(t.Context(), tok, truststore.Config{
		Anchors: truststore.Anchors{Pairing: issuer.Chain[1:]}, Now: func() time.Time { return at },
	})
	require.NoError(t, err)
	for id, lifetime := range map[string]time.Duration{"good": 300 * day, "soon": 110 * day, "late": 50 * day, "later": 90 * day} {
		issuer.Lifetime = lifetime
		chain := issue(t, issuer, id, at)
		require.NoError(t, (&truststore.Clients{Store: trust}).Add(t.Context(), id, chain))
	}
	pin := filepath.Join(t.TempDir(), "pin")
	require.NoError(t, os.WriteFile(pin, []byte(hsmtest.PIN), 0o600))
	hsmtls := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		status := run(context.Background(), append([]string{"pairing", "--module", cfg.Module, "--token", cfg.Token, "--pin-file", pin}, args...), strings.NewReader(""), &out, &errs)
		return status, out.String() + errs.String()
	}
	states := func() map[string]string {
		status, out := hsmtls("list", "--json")
		require.Zero(t, status, out)
		var all []paired
		require.NoError(t, json.Unmarshal([]byte(out), &all))
		found := map[string]string{}
		for _, p := range all {
			found[p.POSID] = p.State
		}
		return found
	}
	require.Equal(t, map[string]string{"good": stateGood, "soon": stateExpiring, "late": stateExpired, "later": stateExpired}, states())
	status, out := hsmtls("revoke", "late")
	require.Zero(t, status, out)
	status, out = hsmtls("revoke", "late")
	require.Equal(t, exitFailed, status, out)
	require.Equal(t, map[string]string{"good": stateGood, "soon": stateExpiring, "later": stateExpired}, states())
	status, out = hsmtls("prune")
	require.Zero(t, status, out)
	require.Equal(t, "removed 1 expired certificate\n", out)
	require.Equal(t, map[string]string{"good": stateGood, "soon": stateExpiring}, states())
}

// oldAuthority puts a pairing CA on a token that is a year old.
func oldAuthority(t *testing.T, tok *hsm.Token) *pairing.Issuer {
	t.Helper()
	then, keys := time.Now().Add(-365*day), keystore.New(tok)
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	root, err := pairing.NewLocalRoot(rootKey, pkix.Name{CommonName: "pairing root"}, then)
	require.NoError(t, err)
	key, err := keys.Generate(t.Context(), "pairing", keystore.P256)
	require.NoError(t, err)
	ca, err := pairing.NewLocalAuthority(root, rootKey, key.Public(), pkix.Name{CommonName: "pairing CA"}, then)
	require.NoError(t, err)
	chain := []*x509.Certificate{ca, root}
	require.NoError(t, keys.InjectAuthority(t.Context(), "pairing_ca", "pairing", chain))
	return &pairing.Issuer{Key: key, Chain: chain}
}

func issue(t *testing.T, issuer *pairing.Issuer, id string, at time.Time) []*x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	chain, err := issuer.Issue(id, key.Public(), at)
	require.NoError(t, err)
	return chain
}

// TestJournalPath is not parallel: it changes the environment.
func TestJournalPath(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	one, err := journalPath("", hsm.Info{Serial: "1"})
	require.NoError(t, err)
	require.Regexp(t, `^/state/hsmtls/pairing-[0-9a-f]{16}\.journal$`, one)
	two, err := journalPath("", hsm.Info{Serial: "2"})
	require.NoError(t, err)
	require.NotEqual(t, one, two, "each token has its own")
	for given, want := range map[string]string{"none": "", "file": "file"} {
		got, err := journalPath(given, hsm.Info{})
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	t.Setenv("XDG_STATE_HOME", "relative")
	t.Setenv("HOME", "")
	got, err := journalPath("", hsm.Info{})
	if os.Geteuid() == 0 {
		require.NoError(t, err)
		require.Equal(t, "/var/lib/hsmtls", filepath.Dir(got))
		return
	}
	require.ErrorIs(t, err, errNoState)
	home := t.TempDir()
	t.Setenv("HOME", home)
	got, err = journalPath("", hsm.Info{})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(home, ".local", "state", "hsmtls"), filepath.Dir(got))
}
