// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
	"github.com/hsmtls/hsmtls-go/internal/testpki"
)

// A bench is a token behind a fault module, with one key in use.
type bench struct {
	*faultp11.Module
	token  p11.Token
	signer *p11.Signer
	key    p11.Key
}

func newBench(t *testing.T, change func(*p11.Config)) bench {
	t.Helper()
	m := faultp11.New(t)
	cfg := faultConfig(t, m)
	if change != nil {
		change(&cfg)
	}
	token := open(t, cfg)
	key := generate(t, token, p11.P256)
	signer, err := token.Signer(t.Context(), key.ID, key.Public)
	require.NoError(t, err)
	b := bench{Module: m, token: token, signer: signer, key: key}
	b.requireSigned(t)
	m.ResetCalls()
	return b
}

// faultConfig is patient, because a machine may be busy.
func faultConfig(t *testing.T, m *faultp11.Module) p11.Config {
	t.Helper()
	cfg := m.Config(t)
	return p11.Config{
		Module: cfg.Module, Select: p11.Selector{Label: cfg.Token}, PIN: pin(hsmtest.PIN), Hold: time.Minute, Timeout: time.Minute,
	}
}

func (b bench) sign(ctx context.Context) error {
	digest := sha256.Sum256(nil)
	_, err := b.signer.SignContext(ctx, digest[:], crypto.SHA256)
	return err
}

// requireSigned makes a signature. On a machine that is busy one may be late.
func (b bench) requireSigned(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		err := b.sign(t.Context())
		if err == nil {
			return
		}
		require.ErrorIs(t, err, p11.ErrBusy)
		require.True(t, time.Now().Before(end), "every signature is late")
	}
}

// requireReady waits until a token says that it is well, which is a moment after it
// is: a signature may have been made meanwhile.
func requireReady(t *testing.T, token p11.Token) {
	t.Helper()
	require.Eventually(t, func() bool { return token.Status().State == p11.Ready }, 30*time.Second, time.Millisecond)
}

func (b bench) requireState(t *testing.T, want p11.State) {
	t.Helper()
	require.Eventually(t, func() bool { return b.token.Status().State == want }, 30*time.Second, time.Millisecond)
}

func TestSignatureTakesTwoCalls(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	require.NoError(t, b.sign(t.Context()))
	require.Equal(t, map[string]int{"C_SignInit": 1, "C_Sign": 1}, b.CallTable())
}

// TestRecovery shows one signature that survives each way to lose a token.
func TestRecovery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		lose func(b bench)
	}{
		{"sessions lost", func(b bench) { b.LoseSessions() }},
		{"session handle invalid", func(b bench) { b.Fail("C_SignInit", 1, faultp11.SessionHandleInvalid) }},
		{"login lost", func(b bench) { b.Fail("C_SignInit", 1, faultp11.UserNotLoggedIn) }},
		{"device error in C_Sign", func(b bench) { b.Fail("C_Sign", 1, faultp11.DeviceError) }},
		{"answer lost", func(b bench) { b.LoseAnswer("C_Sign", 1, faultp11.DeviceRemoved) }},
		{"module uninitialised", func(b bench) { b.Uninitialise() }},
		{"connection lost until C_Initialize", func(b bench) { b.Disconnect(faultp11.DeviceError) }},
		{"general error once", func(b bench) { b.Fail("C_Sign", 1, faultp11.GeneralError) }},
		{"general error four times", func(b bench) { b.Fail("C_Sign", 4, faultp11.GeneralError) }},
		{"operation left active", func(b bench) {
			b.Inject("C_Sign", faultp11.Fault{Mode: faultp11.FailActive, Code: faultp11.FunctionFailed})
		}},
		{"key handle invalid", func(b bench) { b.Fail("C_SignInit", 1, faultp11.KeyHandleInvalid) }},
		{"rebuilding fails twice", func(b bench) {
			b.LoseSessions()
			b.Fail("C_OpenSession", 2, faultp11.DeviceError)
		}},
		{"login fails twice", func(b bench) {
			b.LoseSessions()
			b.Fail("C_Login", 2, faultp11.DeviceError)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			tt.lose(b)
			require.NoError(t, b.sign(t.Context()))
			requireSigns(t, b.signer)
			require.Zero(t, b.Misuse())
		})
	}
}

func TestTokenRemovedAndBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	var seen sync.Map
	stop := b.token.Watch(func(s p11.Status) { seen.Store(s.State, true) })
	defer stop()
	b.Remove()
	done := make(chan error, 1)
	go func() { done <- b.sign(context.Background()) }()
	b.requireState(t, p11.Recovering)
	status := b.token.Status()
	require.Error(t, status.Reason)
	require.EqualValues(t, 1, status.Outages)
	require.Zero(t, status.LastOutage.End)
	b.Insert()
	require.NoError(t, <-done)
	requireReady(t, b.token)
	status = b.token.Status()
	require.NoError(t, status.Reason)
	require.Positive(t, status.LastOutage.End.Sub(status.LastOutage.Start))
	for _, state := range []p11.State{p11.Recovering, p11.Ready} {
		require.Eventually(t, func() bool { _, ok := seen.Load(state); return ok }, 30*time.Second, time.Millisecond, state)
	}
}

func TestHoldIsBounded(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]time.Duration{"not at all": -1, "a while": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(c *p11.Config) { c.Hold = hold })
			b.Remove()
			err := b.sign(t.Context())
			var gone *p11.UnavailableError
			require.ErrorAs(t, err, &gone)
			require.Equal(t, p11.Recovering, gone.State)
			b.Insert()
			b.requireState(t, p11.Ready)
			require.NoError(t, b.sign(t.Context()))
		})
	}
}

func TestContextEndsTheHold(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *p11.Config) { c.Hold, c.Timeout = time.Hour, time.Hour })
	b.Remove()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := b.sign(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestPINErrorsEndRetries: whatever the PIN is refused for, it is not tried
// again before an operator says so.
func TestPINErrorsEndRetries(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		refuse func(b bench)
		mend   func(b bench)
		want   error
		logins int
	}{
		{"wrong", func(b bench) { b.Fail("C_Login", 1, faultp11.PINIncorrect) }, func(bench) {}, p11.ErrPIN, 1},
		{"locked", func(b bench) { b.Fail("C_Login", 1, faultp11.PINLocked) }, func(bench) {}, p11.ErrPINLocked, 1},
		{"flag locked", func(b bench) { b.PINFlags(faultp11.UserPINLocked) }, func(b bench) { b.PINFlags() }, p11.ErrPINLocked, 0},
		{"flag final try", func(b bench) { b.PINFlags(faultp11.UserPINFinalTry) }, func(b bench) { b.PINFlags() }, p11.ErrPINFinalTry, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			tt.refuse(b)
			b.LoseSessions()
			err := b.sign(t.Context())
			require.ErrorIs(t, err, tt.want)
			var failed *p11.UnavailableError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, p11.Failed, failed.State)
			require.ErrorIs(t, b.sign(t.Context()), tt.want)
			require.Equal(t, tt.logins, b.Calls("C_Login"))
			require.Equal(t, p11.Failed, b.token.Status().State)

			tt.mend(b)
			require.NoError(t, b.token.Reopen(t.Context()))
			require.NoError(t, b.sign(t.Context()))
		})
	}
}

// TestOneBadKeyDoesNotRestartEverybody: an ambiguous error may be taken for an
// outage once in five seconds, not every time.
func TestOneBadKeyDoesNotRestartEverybody(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.Fail("C_SignInit", faultp11.ForEver, faultp11.KeyHandleInvalid)
	start := time.Now()
	for range 20 {
		require.Error(t, b.sign(t.Context()))
	}
	require.LessOrEqual(t, b.token.Status().Outages, 1+uint64(time.Since(start)/(5*time.Second)))
	_, err := b.token.Keys(t.Context(), p11.Filter{})
	require.NoError(t, err)
}

func TestForeignKeyAfterAnOutage(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.LoseSessions()
	b.Inject("C_Sign", faultp11.Fault{Mode: faultp11.Flip, Times: 8})
	require.ErrorIs(t, b.sign(t.Context()), p11.ErrKeyMismatch)
}

// TestHungCallCostsItselfOnly has a caller give a call up. TestCloseWithAHungCall has
// one run out of time.
func TestHungCallCostsItselfOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *p11.Config) { c.Sessions = 2 })
	b.Hang("C_Sign", 1)
	ctx, giveUp := context.WithCancel(t.Context())
	hung := make(chan error, 1)
	go func() { hung <- b.sign(ctx) }()
	require.Eventually(t, func() bool { return b.Hanging() == 1 }, 30*time.Second, time.Millisecond)
	for range 5 {
		require.NoError(t, b.sign(t.Context()))
	}
	giveUp()
	require.ErrorIs(t, <-hung, context.Canceled)
	require.NoError(t, b.sign(t.Context()))
	status := b.token.Status()
	require.Equal(t, 1, status.Hung)
	require.EqualValues(t, 1, status.Abandoned)
	require.Equal(t, p11.Ready, status.State)
	b.Release()
	require.Eventually(t, func() bool { return b.token.Status().Hung == 0 }, 30*time.Second, time.Millisecond)
	require.NoError(t, b.sign(t.Context()))
	require.Zero(t, b.Misuse())
}

// TestModuleThatSwallowsThreads: of a module in which everything hangs, not
// more than a few threads are left, and everybody gets an answer in time.
func TestModuleThatSwallowsThreads(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *p11.Config) { c.Sessions, c.Timeout, c.Queue = 2, 200*time.Millisecond, 50 })
	b.Hang("C_SignInit", faultp11.ForEver)
	var wg sync.WaitGroup
	var busy atomic.Int64
	for range 200 {
		wg.Go(func() {
			if err := b.sign(context.Background()); err != nil {
				busy.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 200, busy.Load())
	require.LessOrEqual(t, b.MaxInFlight("C_SignInit"), 2+2)
	require.Positive(t, b.token.Status().Shed)
	b.Clear("C_SignInit")
	b.Release()
	b.requireSigned(t)
	require.Zero(t, b.Misuse())
}

// withAHungCall returns a token in which a signature hangs.
func withAHungCall(t *testing.T) (m *faultp11.Module, cfg p11.Config, token p11.Token) {
	t.Helper()
	m = faultp11.New(t)
	cfg = faultConfig(t, m)
	cfg.Timeout = 50 * time.Millisecond
	token, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	key := generate(t, token, p11.P256)
	signer, err := token.Signer(t.Context(), key.ID, key.Public)
	require.NoError(t, err)
	m.Hang("C_Sign", 1)
	digest := sha256.Sum256(nil)
	_, err = signer.Sign(nil, digest[:], crypto.SHA256)
	require.ErrorIs(t, err, p11.ErrBusy)
	return m, cfg, token
}

func TestCloseWithAHungCall(t *testing.T) {
	t.Parallel()
	m, cfg, token := withAHungCall(t)
	require.NoError(t, token.Close())
	m.Release()
	again, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, again.Close())
	require.Zero(t, m.Misuse())
}

func TestOneSessionToken(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := faultConfig(t, m)
	for _, sessions := range []int{1, 2, 3, 4} {
		m.MaxSessions(sessions)
		token, err := p11.Open(t.Context(), cfg)
		require.NoError(t, err, sessions)
		key := generate(t, token, p11.P256)
		require.True(t, key.Local)
		signer, err := token.Signer(t.Context(), key.ID, key.Public)
		require.NoError(t, err, sessions)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { requireSigns(t, signer) })
		}
		wg.Wait()
		m.LoseSessions()
		requireSigns(t, signer)
		m.Uninitialise()
		requireSigns(t, signer)
		require.ErrorIs(t, token.Destroy(t.Context(), key.Objects()...), p11.ErrStale)
		require.NoError(t, token.Close())
	}
	require.Zero(t, m.Misuse())
}

// TestWritesHappenOnce: an answer that is lost does not make a second object.
func TestWritesHappenOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.LoseAnswer("C_GenerateKeyPair", 1, faultp11.DeviceError)
	key := generate(t, b.token, p11.P256)
	keys, err := b.token.Keys(t.Context(), p11.Filter{ID: key.ID})
	require.NoError(t, err)
	require.Len(t, keys, 1)

	cert := p11.CertificateTemplate{Label: "c", ID: []byte("c"), Value: testpki.NewRoot("root").Certificate.Raw}
	for name, mode := range map[string]faultp11.Mode{"answer lost": faultp11.LoseAnswer, "never arrived": faultp11.Fail} {
		b.Inject("C_CreateObject", faultp11.Fault{Mode: mode, Code: faultp11.DeviceRemoved})
		made, err := b.token.CreateCertificate(t.Context(), cert)
		require.NoError(t, err, name)
		found, err := b.token.Certificates(t.Context(), p11.Filter{Label: "c"})
		require.NoError(t, err, name)
		require.Len(t, found, 1, name)
		require.NoError(t, b.token.Destroy(t.Context(), made.Object), name)
	}
}

// TestTokenThatKnowsLess: templates lose an attribute at a time.
func TestTokenThatKnowsLess(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	const private, category, trusted = 0x02, 0x87, 0x86
	template := p11.CertificateTemplate{Value: testpki.NewRoot("root").Certificate.Raw, Category: p11.CategoryAuthority, Private: true}
	for name, tt := range map[string]struct {
		refuse   []uint
		private  bool
		category p11.Category
	}{
		"no category": {[]uint{category, trusted}, true, p11.CategoryUnspecified},
		"no private":  {[]uint{private}, false, p11.CategoryAuthority},
		"neither":     {[]uint{private, category}, false, p11.CategoryUnspecified},
	} {
		b.RefuseAttributes(tt.refuse...)
		template.Label = name
		made, err := b.token.CreateCertificate(t.Context(), template)
		require.NoError(t, err, name)
		require.Equal(t, tt.private, made.Private, name)
		require.Equal(t, tt.category, made.Category, name)
		require.Equal(t, template.Value, made.Value, name)
	}
}

func TestCheckIsShared(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *p11.Config) { c.Hold = -1 })
	for range 10 {
		require.NoError(t, b.token.Check(t.Context(), time.Hour))
	}
	require.Equal(t, 1, b.Calls("C_Sign"))
	b.Fail("C_Sign", faultp11.ForEver, faultp11.GeneralError)
	require.Error(t, b.token.Check(t.Context(), 0))
	b.Clear("C_Sign")
}

// TestTwoModulesAndTwoTokens: what happens to one does not happen to the other.
func TestTwoModulesAndTwoTokens(t *testing.T) {
	t.Parallel()
	one, other := newBench(t, nil), newBench(t, nil)
	second := open(t, faultConfig(t, one.Module))
	key := generate(t, second, p11.P256)
	signer, err := second.Signer(t.Context(), key.ID, key.Public)
	require.NoError(t, err)
	one.Fail("C_Sign", 1, faultp11.DeviceError)
	require.NoError(t, one.sign(t.Context()))
	requireSigns(t, signer)
	require.Zero(t, second.Status().Outages)
	require.NoError(t, other.sign(t.Context()))
	require.Zero(t, other.token.Status().Outages)

	// An uninitialised module is an outage for both of its tokens.
	one.Uninitialise()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { requireSigns(t, signer) })
		wg.Go(func() { requireSigns(t, one.signer) })
	}
	wg.Wait()
	require.Zero(t, one.Misuse())
}

// TestOutagesUnderLoad is many callers and one fault after the other.
func TestOutagesUnderLoad(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var signed atomic.Int64
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := b.sign(context.Background()); err != nil {
					t.Error(err)
					return
				}
				signed.Add(1)
			}
		})
	}
	for range 2 {
		for _, fault := range []func(){
			b.LoseSessions,
			b.Uninitialise,
			func() { b.Fail("C_Sign", 3, faultp11.DeviceError) },
			func() { b.Remove(); time.Sleep(200 * time.Millisecond); b.Insert() },
			func() { b.Disconnect(faultp11.DeviceError) },
			func() { b.LoseAnswer("C_SignInit", 2, faultp11.SessionHandleInvalid) },
		} {
			before := signed.Load()
			fault()
			require.Eventually(t, func() bool { return signed.Load() > before+50 }, 30*time.Second, time.Millisecond)
		}
	}
	cancel()
	wg.Wait()
	require.Zero(t, b.Misuse())
}
