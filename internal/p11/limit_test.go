// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package p11_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// The benchmarks against C sign in turns with this package and with a C program
// over the same key (testdata/rawsign.c), half a second each, and report the
// ratio of their throughputs, the throughput and the tail:
//
//	go test -run '^$' -bench AgainstC -benchtime 10x ./internal/p11

const turn = 500 * time.Millisecond

// A rate is what was measured in one turn.
type rate struct {
	perSecond   float64
	median, p99 time.Duration
}

// A contest is one key, signed with by Go and by C.
type contest struct {
	raw    string // the C program
	cfg    p11.Config
	pin    string
	label  string
	how    string // for the C program
	opts   crypto.SignerOpts
	signer *p11.Signer
}

func newContest(b *testing.B, cfg p11.Config, typ p11.KeyType, how string) *contest {
	b.Helper()
	token, err := p11.Open(b.Context(), cfg)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, token.Close()) })
	c := &contest{raw: rawsign(b), cfg: cfg, pin: hsmtest.PIN, label: "contest " + how, how: how, opts: crypto.SHA256}
	key, err := token.GenerateKey(b.Context(), p11.KeyTemplate{Label: c.label, ID: []byte(c.label), Type: typ})
	require.NoError(b, err)
	c.signer, err = token.Signer(b.Context(), key.ID, key.Public)
	require.NoError(b, err)
	if how == "pss" {
		c.opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	return c
}

// rawsign compiles the C program.
func rawsign(b *testing.B) string {
	b.Helper()
	include, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
	require.NoError(b, err)
	program := filepath.Join(b.TempDir(), "rawsign")
	out, err := exec.Command("cc", "-O2", "-Wall", "-Wextra", "-I", strings.TrimSpace(string(include)),
		"-o", program, "testdata/rawsign.c", "-ldl", "-pthread").CombinedOutput()
	require.NoError(b, err, string(out))
	return program
}

func (c *contest) c(b *testing.B, threads int) (r rate) {
	b.Helper()
	cmd := exec.Command(c.raw, c.cfg.Module, c.cfg.Select.Label, c.label, c.how, fmt.Sprint(threads), fmt.Sprint(turn.Seconds()))
	cmd.Env = append(os.Environ(), "PIN="+c.pin)
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, string(out))
	var median, p99 int
	_, err = fmt.Sscan(string(out), &r.perSecond, &median, &p99)
	require.NoError(b, err)
	r.median, r.p99 = time.Duration(median)*time.Microsecond, time.Duration(p99)*time.Microsecond
	return r
}

func (c *contest) goes(b *testing.B, goroutines int) rate {
	b.Helper()
	digest := sha256.Sum256([]byte("what is signed"))
	took := make([][]time.Duration, goroutines)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range took {
		wg.Go(func() {
			for before := time.Now(); before.Sub(start) < turn; {
				if _, err := c.signer.Sign(nil, digest[:], c.opts); err != nil {
					b.Error(err)
					return
				}
				after := time.Now()
				took[i] = append(took[i], after.Sub(before))
				before = after
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	all := slices.Concat(took...)
	slices.Sort(all)
	require.NotEmpty(b, all)
	return rate{float64(len(all)) / elapsed.Seconds(), all[len(all)/2], all[len(all)*99/100]}
}

// compare takes turns, and reports medians.
func (c *contest) compare(b *testing.B, n int) {
	b.Helper()
	c.goes(b, n) // opens the sessions
	var ratios, rates, p50, p99, p99c []float64
	for b.Loop() {
		limit, own := c.c(b, n), c.goes(b, n)
		ratios = append(ratios, own.perSecond/limit.perSecond)
		rates = append(rates, own.perSecond)
		p50, p99 = append(p50, own.median.Seconds()*1e3), append(p99, own.p99.Seconds()*1e3)
		p99c = append(p99c, limit.p99.Seconds()*1e3)
	}
	for unit, values := range map[string][]float64{"of-C": ratios, "sign/s": rates, "p50-ms": p50, "p99-ms": p99, "p99-ms-C": p99c} {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], unit)
	}
	b.ReportMetric(0, "ns/op")
}

func BenchmarkAgainstC(b *testing.B) {
	cfg := hsmtest.Config(b)
	for _, bb := range []struct {
		how string
		typ p11.KeyType
	}{{"pkcs1", p11.RSA2048}, {"pss", p11.RSA2048}, {"ecdsa", p11.P256}} {
		c := newContest(b, p11.Config{Module: cfg.Module, Select: p11.Selector{Label: cfg.Token}, PIN: pin(hsmtest.PIN)}, bb.typ, bb.how)
		for _, n := range []int{1, 2, 8, 64} {
			b.Run(fmt.Sprintf("%s/%d", bb.how, n), func(b *testing.B) { c.compare(b, n) })
		}
	}
}

// BenchmarkAgainstCSlowly is the same with a token at the end of a network:
// every call takes longer, and as many as come are served at once.
func BenchmarkAgainstCSlowly(b *testing.B) {
	for _, delay := range []time.Duration{2 * time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		m := faultp11.New(b)
		cfg := m.Config(b)
		c := newContest(b, p11.Config{Module: cfg.Module, Select: p11.Selector{Label: cfg.Token}, PIN: pin(hsmtest.PIN)}, p11.RSA2048, "pkcs1")
		m.DelayAll(delay)
		for _, n := range []int{1, 8} {
			b.Run(fmt.Sprintf("%v/%d", delay, n), func(b *testing.B) { c.compare(b, n) })
		}
		m.DelayAll(0)
	}
}
