// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package conformance_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// A load is goroutines that sign without pause, each with one key, and verify
// what they get.
type load struct {
	token   *hsm.Token
	made    []atomic.Int64 // by goroutine
	ended   []atomic.Int64 // likewise, failed ones too
	failed  atomic.Int64
	wrong   atomic.Int64
	errs    sync.Map // text to count
	running sync.WaitGroup
	stop    context.CancelFunc
}

// startLoad makes an RSA and a P-256 key and has workers sign with them in turn.
func startLoad(t *testing.T, token *hsm.Token, workers int) *load {
	t.Helper()
	keys := keystore.New(token)
	var signers []*keystore.Key
	for alias, typ := range map[string]keystore.KeyType{"rsa": keystore.RSA2048, "ec": keystore.P256} {
		key, err := keys.Generate(t.Context(), alias, typ)
		require.NoError(t, err)
		signers = append(signers, key)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &load{token: token, made: make([]atomic.Int64, workers), ended: make([]atomic.Int64, workers), stop: stop}
	t.Cleanup(l.end)
	for i := range workers {
		l.running.Go(func() { l.work(ctx, i, signers[i%len(signers)]) })
	}
	return l
}

func (l *load) work(ctx context.Context, worker int, key *keystore.Key) {
	for n := 0; ctx.Err() == nil; n++ {
		digest := sha256.Sum256(fmt.Append(nil, worker, n))
		sig, err := key.Sign(nil, digest[:], crypto.SHA256)
		switch {
		case err != nil:
			l.failed.Add(1)
			count, _ := l.errs.LoadOrStore(err.Error(), new(atomic.Int64))
			count.(*atomic.Int64).Add(1)
		case !verifies(key.Public(), digest[:], sig):
			l.wrong.Add(1)
		default:
			l.made[worker].Add(1)
		}
		l.ended[worker].Add(1)
	}
}

func (l *load) end() {
	l.stop()
	l.running.Wait()
}

func (l *load) total() (n int64) {
	for i := range l.made {
		n += l.made[i].Load()
	}
	return n
}

// seen returns how many calls of each worker have ended.
func (l *load) seen() []int64 {
	n := make([]int64, len(l.ended))
	for i := range n {
		n[i] = l.ended[i].Load()
	}
	return n
}

// goesOn waits until every worker has ended a call since. What it started in an
// outage is over then, so that outages do not add up to more than the hold.
func (l *load) goesOn(t *testing.T, since []int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		for i, n := range l.seen() {
			if n <= since[i] {
				return false
			}
		}
		return true
	}, 30*time.Second, time.Millisecond, "no call has ended since the server is back: %+v", l.token.Status())
}

func (l *load) log(t *testing.T, kills int) {
	t.Helper()
	s := l.token.Status()
	t.Logf("%d kills, %d signatures, %d failed, %d wrong, %d outages, %d abandoned, %d hung",
		kills, l.total(), l.failed.Load(), l.wrong.Load(), s.Outages, s.Abandoned, s.Hung)
	l.errs.Range(func(text, count any) bool {
		t.Logf("%d times: %v", count.(*atomic.Int64).Load(), text)
		return true
	})
}

func verifies(public crypto.PublicKey, digest, sig []byte) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest, sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	}
	return false
}

// kills is how often the server is killed.
func kills(full int) int {
	if testing.Short() {
		return full / 5
	}
	return full
}

// down is how long a killed server stays away.
func down() time.Duration { return 50*time.Millisecond + rand.N(150*time.Millisecond) }

// TestServerKilled kills the network HSM under load, again and again, with one
// call in flight: no signature fails.
func TestServerKilled(t *testing.T) {
	n := hsmtest.P11Kit(t)
	cfg := n.Config()
	cfg.Sessions = 1
	cfg.Hold, cfg.SignTimeout = time.Minute, time.Minute // a server may take long to start on a busy machine
	token := hsmtest.Open(t, cfg)
	l := startLoad(t, token, 4)
	l.goesOn(t, l.seen())
	before := runtime.NumGoroutine()

	times := kills(100)
	worst := time.Duration(0)
	for range times {
		n.Kill9()
		time.Sleep(down())
		n.Start()
		back, since := time.Now(), l.seen()
		l.goesOn(t, since)
		worst = max(worst, time.Since(back))
		time.Sleep(rand.N(20 * time.Millisecond))
	}
	after := runtime.NumGoroutine()
	for end := time.Now().Add(10 * time.Second); after > before+2 && time.Now().Before(end); after = runtime.NumGoroutine() {
		time.Sleep(10 * time.Millisecond) // some are on their way out
	}
	l.end()

	l.log(t, times)
	t.Logf("all workers signed again within %v of the return; goroutines %d before, %d after", worst, before, after)
	require.Zero(t, l.failed.Load())
	require.Zero(t, l.wrong.Load())
	require.LessOrEqual(t, after, before+2)
	require.GreaterOrEqual(t, token.Status().Outages, uint64(times))
	require.Zero(t, token.Status().Hung)
}

// TestServerKilledWithCallsInFlight does the same with four calls in flight.
// The client of p11-kit 0.24 and 0.26 loses a wake-up now and then, so that a
// call never returns: that costs this call, after SignTimeout, and no other.
func TestServerKilledWithCallsInFlight(t *testing.T) {
	if !hsmtest.Child(t) {
		return
	}
	stuck = true
	n := hsmtest.P11Kit(t)
	cfg := n.Config()
	cfg.Sessions, cfg.SignTimeout, cfg.Hold = 4, 8*time.Second, time.Minute
	token := hsmtest.Open(t, cfg)
	l := startLoad(t, token, 4)
	l.goesOn(t, l.seen())

	times := kills(25)
	for range times {
		n.Kill9()
		time.Sleep(down())
		n.Start()
		l.goesOn(t, l.seen())
	}
	l.end()

	l.log(t, times)
	require.Zero(t, l.wrong.Load())
	require.Equal(t, uint64(l.failed.Load()), token.Status().Abandoned, "only abandoned calls fail")
	l.errs.Range(func(text, _ any) bool {
		require.Contains(t, text, hsm.ErrBusy.Error())
		return true
	})
}

// TestServerDown opens a token whose server is not there: no slots, not an empty
// token.
func TestServerDown(t *testing.T) {
	n := hsmtest.P11Kit(t)
	n.Kill9()
	_, err := hsm.Open(t.Context(), n.Config())
	require.ErrorIs(t, err, hsm.ErrNotFound)
	n.Start()
	token := hsmtest.Open(t, n.Config())
	require.NoError(t, token.Check(t.Context()))
}
