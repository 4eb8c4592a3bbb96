// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package p11_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest/faultp11"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// serveModule is main of this test binary as a module host.
func serveModule() {
	if err := p11.ServeModule(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// hosted has the module run by this test binary in another process. Tests that do so
// have a fault module each, because they share the host of a module, and a SoftHSM
// that runs does not see the tokens that are made in another process.
func hosted(c *p11.Config) { c.Host = os.Args[0] }

// kill kills the host of tokens that are well. It waits for that because SoftHSM
// 2.6.1 writes the token anew with every login, and one that is killed in the middle
// leaves an empty file.
func kill(t *testing.T, tokens ...p11.Token) (pid int) {
	t.Helper()
	for _, token := range tokens {
		pid = well(t, token, 0)
	}
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	return pid
}

// well waits until a token is well in another host than this, and returns that. It asks
// twice, because a Status may have a state from before that host and the host itself.
func well(t *testing.T, token p11.Token, than int) (pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		pid = token.Status().HostPID
		s := token.Status()
		return s.State == p11.Ready && s.HostPID == pid && pid > 1 && pid != than
	}, 30*time.Second, 100*time.Microsecond)
	return pid
}

// requireGone waits until a process is not even a zombie.
func requireGone(t *testing.T, pid int) {
	t.Helper()
	require.NotZero(t, pid)
	require.Eventually(t, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH }, 30*time.Second, time.Millisecond)
}

// TestHosted does with a module in another process what there is to do, and leaves
// no process behind.
func TestHosted(t *testing.T) {
	t.Parallel()
	cfg := faultConfig(t, faultp11.New(t))
	hosted(&cfg)
	token, err := p11.Open(t.Context(), cfg)
	require.NoError(t, err)
	pid := token.Status().HostPID
	require.NotEqual(t, os.Getpid(), pid)
	for _, typ := range []p11.KeyType{p11.RSA2048, p11.P256} {
		key := generate(t, token, typ)
		require.Equal(t, p11.Attributes{
			Sensitive: true, AlwaysSensitive: true, NeverExtractable: true, Local: true, Private: true, Sign: true,
		}, key.Attributes)
		signer, err := token.Signer(t.Context(), key.ID, key.Public)
		require.NoError(t, err)
		requireSigns(t, signer)
		require.NoError(t, token.Destroy(t.Context(), key.Objects()...))
	}
	random, err := token.Random(t.Context(), 32)
	require.NoError(t, err)
	require.Len(t, random, 32)
	_, err = token.CreateData(t.Context(), p11.DataTemplate{Label: "l", Application: "a", Value: []byte("v"), Private: true})
	require.NoError(t, err)
	data, err := token.Data(t.Context(), p11.DataFilter{Label: "l"})
	require.NoError(t, err)
	require.Len(t, data, 1)
	require.NoError(t, token.Close())
	require.Zero(t, token.Status().HostPID)
	requireGone(t, pid)

	tokens, err := p11.List(t.Context(), cfg.Module, cfg.Host)
	require.NoError(t, err)
	require.NotEmpty(t, tokens)
}

// TestHostAndLinked opens one token in this process and through a host.
func TestHostAndLinked(t *testing.T) {
	t.Parallel()
	cfg := faultConfig(t, faultp11.New(t))
	here := open(t, cfg)
	hosted(&cfg)
	there := open(t, cfg)
	require.Zero(t, here.Status().HostPID)
	require.NotZero(t, there.Status().HostPID)
	require.NoError(t, here.Check(t.Context(), 0))
	require.NoError(t, there.Check(t.Context(), 0))
}

// TestHostKilled kills the host under load, again and again: no signature fails,
// of either of two tokens.
func TestHostKilled(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	var tokens []p11.Token
	var failed, made atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for _, cfg := range []p11.Config{faultConfig(t, m), faultConfig(t, m)} {
		hosted(&cfg)
		token := open(t, cfg)
		tokens = append(tokens, token)
		for range 4 {
			key := generate(t, token, p11.P256)
			signer, err := token.Signer(t.Context(), key.ID, key.Public)
			require.NoError(t, err)
			working.Go(func() {
				for ctx.Err() == nil {
					digest := sha256.Sum256(nil)
					if _, err := signer.SignContext(context.Background(), digest[:], crypto.SHA256); err != nil {
						failed.Add(1)
						t.Error(err)
					}
					made.Add(1)
				}
			})
		}
	}
	for n := range 15 {
		before, lost := made.Load(), outages(tokens)
		kill(t, tokens...)
		require.Eventually(t, func() bool {
			return made.Load() > before+50 && !slices.ContainsFunc(tokens, func(token p11.Token) bool { return token.Status().Outages == lost[token] })
		}, 30*time.Second, time.Millisecond, "after kill %d", n)
	}
	stop()
	working.Wait()
	require.Zero(t, failed.Load())
	for _, token := range tokens {
		requireReady(t, token)
		require.NotZero(t, token.Status().Outages)
		require.Zero(t, token.Status().HostKills)
	}
	require.Zero(t, m.Misuse())
}

// outages are those of each token so far. A kill is over when each has had one more:
// until then one that has not noticed looks well, and the next kill would find it in
// the middle of its login.
func outages(tokens []p11.Token) map[p11.Token]uint64 {
	all := map[p11.Token]uint64{}
	for _, token := range tokens {
		all[token] = token.Status().Outages
	}
	return all
}

// TestHostIsMissed ends the host of a token that nobody uses: it is back before it
// is used, and what a crash looks like is in the log. A host whose end takes more than
// a second, on a machine that is busy, is said to have closed its socket.
func TestHostIsMissed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		signal        syscall.Signal
		cause, output string
	}{
		{syscall.SIGKILL, "killed", ""},
		{syscall.SIGSEGV, "exit status", "SIGSEGV"},
		{syscall.SIGABRT, "exit status", "SIGABRT"},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			t.Parallel()
			var log lockedBuffer
			b := newBench(t, func(c *p11.Config) { hosted(c); c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			told := func() bool {
				before := well(t, b.token, 0)
				require.NoError(t, syscall.Kill(before, tt.signal))
				well(t, b.token, before)
				requireGone(t, before)
				return strings.Contains(b.token.Status().LastOutage.Cause.Error(), tt.cause)
			}
			for tries := 1; !told(); tries++ {
				require.Less(t, tries, 3, "%v", b.token.Status().LastOutage.Cause)
			}
			require.Contains(t, log.String(), tt.output)
		})
	}
}

// TestHostCrashes kills the host at each call in turn, before the module does it and
// after: a signature does not notice, and a write happens once.
func TestHostCrashes(t *testing.T) {
	t.Parallel()
	for name, killAt := range map[string]func(m *faultp11.Module, n int){
		"before": (*faultp11.Module).KillAt, "after": (*faultp11.Module).KillPast,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, hosted)
			for n := 1; n <= 12; n++ {
				killAt(b.Module, n)
				require.NoError(t, b.sign(t.Context()), "call %d", n)
				label := fmt.Sprint("written at ", n)
				_, err := b.token.CreateData(t.Context(), p11.DataTemplate{Label: label, Application: "a", Value: []byte("v")})
				require.NoError(t, err, "call %d", n)
				data, err := b.token.Data(t.Context(), p11.DataFilter{Label: label})
				require.NoError(t, err)
				require.Len(t, data, 1, "call %d", n)
			}
			b.KillAt(0)
			require.Zero(t, b.Misuse())
		})
	}
}

// TestHostHangs has signatures hang: they fail in time, their host is ended and
// counted once, no call is left behind, and the next signature is made. One that
// begins later than the others may outlive their host and be made by the next.
func TestHostHangs(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *p11.Config) { hosted(c); c.Sessions, c.Timeout = 4, time.Second })
	stuck := well(t, b.token, 0)
	b.Hang("C_Sign", 4)
	var callers sync.WaitGroup
	var late atomic.Int64
	for range 4 {
		callers.Go(func() {
			switch err := b.sign(t.Context()); {
			case errors.Is(err, p11.ErrBusy):
				late.Add(1)
			case err != nil:
				t.Errorf("a signature that hangs: %v", err)
			}
		})
	}
	callers.Wait()
	require.Positive(t, late.Load())
	well(t, b.token, stuck)
	b.requireSigned(t)
	requireGone(t, stuck)
	require.Eventually(t, func() bool { return b.token.Status().Hung == 0 }, 30*time.Second, time.Millisecond)
	require.Positive(t, b.token.Status().HostKills)
	require.Less(t, b.token.Status().HostKills, uint64(4), "once for all that hung in a host")
	requireReady(t, b.token)
}

// TestHostStopped has the whole host stand still, which does not even end with its
// socket. The signature is late, or made by the next host if it was something else
// that found out first.
func TestHostStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *p11.Config) { hosted(c); c.Timeout = time.Second })
	stuck := well(t, b.token, 0)
	require.NoError(t, syscall.Kill(stuck, syscall.SIGSTOP))
	_, err := syscall.Wait4(stuck, nil, syscall.WUNTRACED, nil) // until every thread stands still
	require.NoError(t, err)
	if err := b.sign(t.Context()); err != nil {
		require.ErrorIs(t, err, p11.ErrBusy)
	}
	well(t, b.token, stuck)
	b.requireSigned(t)
	requireGone(t, stuck)
}

// bereave kills the host of a token and waits until that is known here.
func bereave(t *testing.T, token p11.Token) {
	t.Helper()
	pid := kill(t, token)
	require.Eventually(t, func() bool { return token.Status().HostPID != pid }, 30*time.Second, 100*time.Microsecond)
}

// TestOpenBesideADeadHost opens a second token, and lists all, when the host of the
// first has just died.
func TestOpenBesideADeadHost(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	first, second := faultConfig(t, m), faultConfig(t, m)
	hosted(&first)
	hosted(&second)
	token := open(t, first)
	for range 5 {
		bereave(t, token)
		other, err := p11.Open(t.Context(), second)
		require.NoError(t, err)
		require.NoError(t, other.Check(t.Context(), 0))
		require.NoError(t, other.Close())
		bereave(t, token)
		found, err := p11.List(t.Context(), first.Module, first.Host)
		require.NoError(t, err)
		require.Len(t, found, 3)
	}
	require.NoError(t, token.Check(t.Context(), 0))
}

// TestHostTriesAPINOnce: a PIN is refused through a host as without one.
func TestHostTriesAPINOnce(t *testing.T) {
	t.Parallel()
	m := faultp11.New(t)
	cfg := faultConfig(t, m)
	hosted(&cfg)
	cfg.PIN = pin("000000")
	m.ResetCalls()
	_, err := p11.Open(t.Context(), cfg)
	require.ErrorIs(t, err, p11.ErrPIN)
	var answered *p11.Error
	require.ErrorAs(t, err, &answered)
	require.Equal(t, "C_Login", answered.Op)
	require.Equal(t, 1, m.Calls("C_Login"))
}

// TestHostPINRefusedAfterOutage has another PIN come from its source after an outage:
// the next host tries it once, and nobody again.
func TestHostPINRefusedAfterOutage(t *testing.T) {
	t.Parallel()
	asked := atomic.Int64{}
	b := newBench(t, func(c *p11.Config) {
		hosted(c)
		c.PIN = func(context.Context) ([]byte, error) {
			if asked.Add(1) > 1 {
				return []byte("000000"), nil
			}
			return []byte(hsmtest.PIN), nil
		}
	})
	b.ResetCalls()
	kill(t, b.token)
	b.requireState(t, p11.Failed)
	require.Equal(t, 1, b.Calls("C_Login"))
}

// TestNotAHost opens tokens with programs that are none.
func TestNotAHost(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"/bin/false", "/bin/cat", "/nonexistent"} {
		cfg := config(t)
		cfg.Host = program
		_, err := p11.Open(t.Context(), cfg)
		require.Error(t, err, program)
	}
	cfg := config(t)
	cfg.Host, cfg.Module = os.Args[0], os.Args[0]
	_, err := p11.Open(t.Context(), cfg)
	require.ErrorContains(t, err, "cannot be loaded")
}

// TestServeByHand: a host that nobody has started for a module ends at once.
func TestServeByHand(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(os.Args[0], p11.HostArgument).CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Contains(t, string(out), "not by hand")
}

// A lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestLongAnswer: a host that is ended because it says too much is not one that was
// killed by somebody.
func TestLongAnswer(t *testing.T) {
	t.Parallel()
	cfg := faultConfig(t, faultp11.New(t))
	hosted(&cfg)
	cfg.Hold = -1
	_, err := open(t, cfg).Random(t.Context(), 33<<20)
	require.ErrorContains(t, err, "message of the module host is too long")
}

// TestHostOutput: what a module prints is logged.
func TestHostOutput(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	cfg := config(t)
	cfg.Host = "/bin/ls" // it complains about its argument
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	_, err := p11.Open(t.Context(), cfg)
	require.Error(t, err)
	require.Contains(t, log.String(), p11.HostArgument)
	require.Contains(t, log.String(), "module host")
}

// TestHostOutputWithoutALine: the last words of a host are logged though it has not
// ended the line.
func TestHostOutputWithoutALine(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	cfg := config(t)
	cfg.Host = "printf" // which prints its argument
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	_, err := p11.Open(t.Context(), cfg)
	require.Error(t, err)
	require.Contains(t, log.String(), "output="+p11.HostArgument)
}
