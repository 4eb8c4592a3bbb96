// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build linux && cgo

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
)

// TestMain is the driver's other roles too, because it starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "world" || os.Args[1] == "neutral") {
		main()
		return
	}
	os.Exit(hsmtest.LeakFree(m.Run()))
}

// build makes a folder with the contenders that need nothing but what the other
// tests need.
func build(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	said, err := exec.Command("go", "build", "-o", bin, "./hsmtls").CombinedOutput()
	require.NoError(t, err, "%s", said)
	include, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
	require.NoError(t, err)
	said, err = exec.Command("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-I", strings.TrimSpace(string(include)),
		"-o", filepath.Join(bin, "raw"), "c/raw.c", "-ldl").CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "gnutls.missing"), []byte("on purpose\n"), 0o600))
	return bin
}

// TestDriver runs a few experiments as short as they can be.
func TestDriver(t *testing.T) {
	t.Parallel()
	b, err := newBench(t.Context(), options{bin: build(t), module: hsmtest.Module(t)})
	require.NoError(t, err)
	defer b.close()

	base := experiment{workload: "sign-pkcs1", world: "1", workers: []int{1, 2}, rounds: 2, duration: 20 * time.Millisecond, count: true}
	base.name, base.contenders = "sign-pkcs1", []string{us, "raw C", "GnuTLS"}
	cells, err := b.run(base)
	require.NoError(t, err)
	r := &results{Cells: cells}
	for _, name := range []string{us, "raw C"} {
		for _, workers := range []int{1, 2} {
			c := r.find(base.name, name, workers)
			require.NotNil(t, c, name)
			require.Len(t, c.Samples, 2)
			require.Positive(t, c.rate().least)
			require.Positive(t, c.Memory)
			require.Positive(t, c.Threads) // its own of 20 ms may come and go between two looks: TestWatch
		}
		require.InDelta(t, 2, r.find(base.name, name, 1).Calls, 0.01, "C_SignInit and C_Sign")
	}
	require.Nil(t, r.find(base.name, "GnuTLS", 1))
	require.Contains(t, r.tables(), "GnuTLS was not measured: on purpose")
	require.NoError(t, r.complete())

	client := experiment{name: "client", workload: "handshake", world: "1", workers: []int{1}, address: fullOnly, rounds: 1, contenders: []string{us}, count: true}
	again := experiment{name: "resumed", workload: "resumed", world: "1", workers: []int{1}, address: resumes, rounds: 1,
		duration: 50 * time.Millisecond, contenders: []string{us}, count: true}
	start := experiment{name: "start-1", workload: "start", kind: starts, world: "0", workers: []int{1}, address: fullOnly, rounds: 1, contenders: []string{us}, count: true}
	for _, e := range []experiment{client, again, start} {
		cells, err := b.run(e)
		require.NoError(t, err)
		r.Cells = append(r.Cells, cells...)
	}
	require.NoError(t, r.complete())
	v := r.handshakeCalls()
	require.Equal(t, "2 and 0", v.measured)
	require.True(t, v.met)
	require.Positive(t, r.find("start-1", us, 1).Calls)
	requireXML(t, r.plot())
}

// TestWatch holds that threads which stay are seen.
func TestWatch(t *testing.T) {
	t.Parallel()
	const n = 5
	var started, ended sync.WaitGroup
	started.Add(n)
	release := make(chan struct{})
	for range n {
		ended.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			started.Done()
			<-release
		})
	}
	started.Wait()
	stop := group{os.Getpid()}.watch()
	require.Greater(t, stop(), n)
	close(release)
	ended.Wait()
}

func requireXML(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else {
			require.NoError(t, err)
		}
	}
}

// TestEmpty holds that nothing measured is nothing met, and a page all the same.
func TestEmpty(t *testing.T) {
	t.Parallel()
	r := new(results)
	text, err := r.page(t.TempDir())
	require.NoError(t, err)
	require.Contains(t, text, "0 of the 0 goals")
	require.Equal(t, len(allGoals), strings.Count(text, "| not measured | unknown |"))
	requireXML(t, r.plot())
}

// TestPlan holds that every contender of the plan exists and that no two
// experiments have one name.
func TestPlan(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, e := range plan(options{}) {
		require.False(t, names[e.name], e.name)
		names[e.name] = true
		require.Contains(t, e.contenders, us, e.name)
		for _, c := range e.contenders {
			_, known := contenders[c]
			require.True(t, known || daemons[c] != nil || tools[c] != nil, c)
		}
	}
}

func TestParseSample(t *testing.T) {
	t.Parallel()
	s, err := parseSample("count=3 failed=1 ns=100 p50=7 p99=8 max=9 resumed=2 error=C_Sign: 0x5 p50=1")
	require.NoError(t, err)
	require.Equal(t, sample{Count: 3, Failed: 1, NS: 100, P50: 7, P99: 8, Max: 9, Resumed: 2, Error: "C_Sign: 0x5 p50=1"}, s)
	for _, bad := range []string{"", "count=x", "nonsense", "count=1", "count=1 ns=2 weight=3"} {
		_, err := parseSample(bad)
		require.Error(t, err, bad)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	require.Equal(t, spread{2, 1, 3}, spreadOf([]float64{3, 1, 2}))
	require.Equal(t, spread{2.5, 1, 4}, spreadOf([]float64{4, 1, 3, 2}))
	require.Equal(t, spread{}, spreadOf(nil))
}
