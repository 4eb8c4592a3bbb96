// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/truststore"
)

// doctorPage is the documentation that these tests hold to what is so.
func doctorPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "doctor.md"))
	require.NoError(t, err)
	return string(page)
}

func TestDoctorPageListsChecks(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	for _, c := range checks {
		fmt.Fprintf(&table, "| `%s` | %s |\n", c.name, c.about)
	}
	require.Contains(t, doctorPage(t), table.String())
}

// changing matches what is different on every token and in every build.
var changing = regexp.MustCompile(`serial [0-9a-f]{16}|slot \d+|\d+ slots? with tokens?|a token|\d{4}-\d\d-\d\d(T[\d:]+Z)?|PKCS11 [\d.]+|in \d+ days`)

// TestDoctorPageShowsOutput makes the token of the page and compares.
func TestDoctorPageShowsOutput(t *testing.T) {
	t.Parallel()
	cfg := hsmtest.Config(t)
	root := testpki.NewRoot("Acquirer Root")
	issuing := root.NewIntermediate("Acquirer CA")
	ill(t, hsmtest.Open(t, cfg), root, issuing)

	dir := t.TempDir()
	pin, rootFile := filepath.Join(dir, "pin"), filepath.Join(dir, "acquirer-root.pem")
	require.NoError(t, os.WriteFile(pin, []byte(hsmtest.PIN), 0o600))
	require.NoError(t, os.WriteFile(rootFile, testpki.PEM(root.Certificate), 0o600))
	var out, errs bytes.Buffer
	args := []string{"doctor", "--module", cfg.Module, "--token", cfg.Token, "--pin-file", pin, "--acquirer-root", rootFile}
	require.Equal(t, exitFailed, run(t.Context(), args, strings.NewReader(""), &out, &errs), errs.String())

	got := strings.ReplaceAll(out.String()+errs.String(), cfg.Token, "terminal")
	const before = "```console\n$ hsmtls doctor\n"
	_, block, found := strings.Cut(doctorPage(t), before)
	require.True(t, found, "docs/doctor.md has no block of output")
	block, _, _ = strings.Cut(block, "```")
	require.Equal(t, changing.ReplaceAllString(block, "…"), changing.ReplaceAllString(got, "…"))
}

// ill gives a token a certificate that ends soon and has no issuer beside it, and a
// trusted entry that has ended.
func ill(t *testing.T, tok *hsm.Token, root, issuing *testpki.CA) {
	t.Helper()
	now := time.Now()
	key, err := keystore.New(tok).Generate(t.Context(), "terminal", keystore.P256)
	require.NoError(t, err)
	template := testpki.ClientTemplate("t-0042.acquirer.example")
	template.NotBefore, template.NotAfter = now.Add(-80*day), now.Add(10*day+time.Hour)
	leaf := issuing.Issue(template, key.Public())
	require.NoError(t, keystore.New(tok).Inject(t.Context(), "terminal_pub", "terminal", []*x509.Certificate{leaf}))

	then := now.Add(-30 * time.Minute)
	trust, err := truststore.Open(t.Context(), tok, truststore.Config{
		Anchors: truststore.Anchors{Acquirer: []*x509.Certificate{root.Certificate}}, Now: func() time.Time { return then },
	})
	require.NoError(t, err)
	server := testpki.ServerTemplate("host.acquirer.example")
	server.NotBefore, server.NotAfter = now.Add(-time.Hour), now.Add(-time.Minute)
	_, err = trust.Inject(t.Context(), "host", root.Issue(server, root.NewIntermediate("another key").Key.Public()))
	require.NoError(t, err)
}

// TestDoctorOnPOS has paired POS whose certificates have ended or are about to.
func TestDoctorOnPOS(t *testing.T) {
	t.Parallel()
	cfg := hsmtest.Config(t)
	tok := hsmtest.Open(t, cfg)
	issuer := oldAuthority(t, tok)
	at := time.Now().Add(-100 * day)
	trust, err := truststore.Open(t.Context(), tok, truststore.Config{
		Anchors: truststore.Anchors{Pairing: issuer.Chain[1:]}, Now: func() time.Time { return at },
	})
	require.NoError(t, err)
	for id, lifetime := range map[string]time.Duration{"soon": 110 * day, "late": 50 * day} {
		issuer.Lifetime = lifetime
		require.NoError(t, (&truststore.Clients{Store: trust}).Add(t.Context(), id, issue(t, issuer, id, at)))
	}
	pin := filepath.Join(t.TempDir(), "pin")
	require.NoError(t, os.WriteFile(pin, []byte(hsmtest.PIN), 0o600))
	var out, errs bytes.Buffer
	run(t.Context(), []string{"doctor", "--json", "--module", cfg.Module, "--token", cfg.Token, "--pin-file", pin}, strings.NewReader(""), &out, &errs)
	var found []finding
	require.NoError(t, json.Unmarshal(out.Bytes(), &found), errs.String())
	of := func(check string) (all []string) {
		for _, f := range found {
			if f.Check == check && strings.Contains(f.Why+f.Text, "POS") {
				all = append(all, f.Level+" "+f.Mend)
			}
		}
		return all
	}
	require.Equal(t, []string{"note hsmtls pairing prune"}, of("trust"))
	require.Equal(t, []string{"note "}, of("dates"))
}

func TestDoctorJudgesClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		traces []trace
		level  string
		mend   string
	}{
		"nothing to compare": {nil, levelNote, ""},
		"fine":               {[]trace{{"a", now.Add(-time.Hour)}, {"b", now.Add(-100 * day)}}, levelOK, ""},
		"within the slack":   {[]trace{{"a", now.Add(time.Minute)}}, levelOK, ""},
		"set back":           {[]trace{{"a", now.Add(-time.Hour)}, {"b", now.Add(time.Hour)}}, levelWarning, setClock},
		"far ahead":          {[]trace{{"a", now.Add(-11 * 365 * day)}}, levelWarning, setClock},
	} {
		found := (&exam{now: now}).judgeClock(c.traces)
		require.Len(t, found, 1, name)
		require.Equal(t, c.level, found[0].Level, name)
		require.Equal(t, c.mend, found[0].Mend, name)
	}
}

func TestDoctorMeasuresSpace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		public, private int64
		levels          []string
	}{
		{-1, -1, []string{levelOK}},
		{1 << 20, -1, []string{levelOK}},
		{1 << 20, 100, []string{levelWarning}},
		{0, 0, []string{levelWarning, levelWarning}},
	} {
		var levels []string
		for _, f := range checkSpace(t.Context(), &exam{info: hsm.Info{FreePublic: c.public, FreePrivate: c.private}}) {
			levels = append(levels, f.Level)
		}
		require.Equal(t, c.levels, levels, "%+v", c)
	}
}

// TestDoctorOnLogin covers what SoftHSM never says.
func TestDoctorOnLogin(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		hsm.ErrPINLocked:   "hsmtls token unblock-pin --so-pin-file SO-PIN-FILE --new-pin-file 'my pin'",
		hsm.ErrPINFinalTry: "hsmtls token unblock-pin --so-pin-file SO-PIN-FILE --new-pin-file 'my pin'",
		hsm.ErrPINFile:     "chmod 600 'my pin'\nhsmtls token set-pin --new-pin-file PIN-FILE",
		hsm.ErrNoPIN:       "hsmtls doctor --pin-file PIN-FILE",
	} {
		e := &exam{app: &app{globals: globals{pinFile: "my pin"}}, openErr: err}
		found := checkPIN(t.Context(), e)
		require.Len(t, found, 1)
		require.Equal(t, levelError, found[0].Level, err)
		require.Equal(t, want, found[0].Mend, err)
		require.Equal(t, levelNote, e.notOpen()[0].Level, "the token is there: %v", err)
	}
	for flag, level := range map[string]string{"user PIN must be changed": levelWarning, "SO PIN locked": levelWarning, "login required": levelOK} {
		found := checkPIN(t.Context(), &exam{before: []hsm.Info{{Slot: 1, Flags: []string{flag}}}, info: hsm.Info{Slot: 1}})
		require.Len(t, found, 1)
		require.Equal(t, level, found[0].Level, flag)
	}
}

func TestDoctorOnKeys(t *testing.T) {
	t.Parallel()
	good := keystore.Attributes{Private: true, Sign: true}
	require.Empty(t, abilities(good))
	good.Decrypt, good.Derive, good.Private = true, true, false
	require.Equal(t, "may decrypt, may derive keys, can be seen without login", abilities(good))
}

func TestDoctorOnModuleFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	module := filepath.Join(dir, "module.so")
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.WriteFile(module, nil, 0o600))
	require.Empty(t, writable(module))
	require.NoError(t, os.Chmod(module, 0o666))
	require.Equal(t, "chmod go-w "+word(module), writable(module)[0].Mend)
	require.NoError(t, os.Chmod(module, 0o600))
	require.NoError(t, os.Chmod(dir, 0o777))
	require.Equal(t, dir, writable(module)[0].Subject)
}

func TestDoctorBringsEverybodyTogether(t *testing.T) {
	t.Parallel()
	s, c := func(n string) party { return party{name: n} }, party{name: "c"}
	require.Empty(t, couples(nil, nil, party{}))
	require.Equal(t, [][2]party{{s("a"), c}, {s("b"), c}}, couples([]party{s("a"), s("b")}, []party{c}, party{}))
	require.Equal(t, [][2]party{{{}, c}}, couples(nil, []party{c}, party{}))
	require.Equal(t, [][2]party{{s("a"), {}}}, couples([]party{s("a")}, nil, party{}))
}

// TestDoctorHandshakes refuses the wrong peer, so that success says something.
func TestDoctorHandshakes(t *testing.T) {
	t.Parallel()
	a, err := throwAway()
	require.NoError(t, err)
	b, err := throwAway()
	require.NoError(t, err)
	report, err := shake(t.Context(), a, b)
	require.NoError(t, err)
	require.True(t, report.Peer.Equal(a.leaf))
	require.Equal(t, levelOK, try(t.Context(), a, b).Level)

	liar := a
	liar.leaf = b.leaf
	require.Equal(t, levelError, try(t.Context(), liar, b).Level, "another certificate than is pinned")
	liar = b
	liar.chain = a.chain
	require.Equal(t, levelError, try(t.Context(), a, liar).Level, "a client with another certificate")
	nameless := a
	nameless.leaf = &x509.Certificate{}
	_, err = shake(t.Context(), nameless, b)
	require.ErrorIs(t, err, errNameless)
}

// TestMendQuotes holds that a shell reads back what a label was.
func TestMendQuotes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "plain_1.pem", "two words", "x; touch y", "it's", `back\slash`, "$(id)", "`id`", "*", "~", "a\nb", "\x1b[31m", "ü", "\xff", "!x", "-x",
	} {
		out, err := exec.Command("bash", "-c", "printf %s "+last(s)).Output()
		if strings.HasPrefix(s, "-") {
			out, err = exec.Command("bash", "-c", "f() { shift; printf %s \"$1\"; }; f "+last(s)).Output()
		}
		require.NoError(t, err, "%q", s)
		require.Equal(t, s, string(out))
		require.NotContains(t, last(s), "\n")
	}
}
