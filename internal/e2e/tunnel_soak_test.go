// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix && cgo

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

// tunnelSoakProcess, in the environment, tells the process in which the soak runs.
const tunnelSoakProcess = "HSMTLS_TUNNEL_SOAK_PROCESS"

// tunnelSoakTime is soakTime, and two minutes where SoftHSM has to be there.
func tunnelSoakTime(t *testing.T) time.Duration {
	t.Helper()
	if os.Getenv("HSMTLS_SOAK") == "" && os.Getenv("HSMTLS_REQUIRE_SOFTHSM") != "" {
		return 2 * time.Minute
	}
	return soakTime(t)
}

// TestTunnelSoak has programs of all kinds talk through both halves of a tunnel,
// whose keys and trust are in a token, while certificates are renewed, trust is
// taken away and given back, and the token fails: nothing is lost, nothing is
// changed, nothing grows. It is at work in a process of its own, so that what is
// open can be counted, and while this one waits for its turn.
func TestTunnelSoak(t *testing.T) {
	if os.Getenv(tunnelSoakProcess) != "" {
		soakTunnel(t)
		return
	}
	hsmtest.Module(t)
	cmd, out := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTunnelSoak$"), new(output)
	cmd.Env = append(os.Environ(), tunnelSoakProcess+"=1")
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	t.Parallel()
	err := cmd.Wait()
	t.Log("\n" + out.String())
	require.NoError(t, err)
}

// held is what a process holds.
type held struct {
	goroutines int
	files      []string
}

func holds(t *testing.T) held {
	t.Helper()
	open, err := os.ReadDir("/dev/fd")
	require.NoError(t, err)
	h := held{goroutines: runtime.NumGoroutine()}
	for _, f := range open {
		name, _ := os.Readlink("/dev/fd/" + f.Name()) // of the folder itself there is none any more
		h.files = append(h.files, name)
	}
	slices.Sort(h.files)
	return h
}

// heap is how many KiB the process has in memory that somebody can still reach.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools need two
	runtime.ReadMemStats(&m)
	return m.HeapAlloc >> 10
}

// maxGrowth is how many KiB more may be in use at the end than after the first tenth:
// session stores fill, buffers come and go.
const maxGrowth = 4 << 10

func soakTunnel(t *testing.T) {
	touchNetwork(t)
	before := holds(t)
	s := newStation(t, setup{token: func(c *hsm.Config) { c.Hold, c.SignTimeout = 20*time.Second, 40*time.Second }})
	w := newSoakWorld(t, s)
	w.start()
	var heaps []uint64 // after each tenth
	for began, total := time.Now(), tunnelSoakTime(t); !w.round() || time.Since(began) < total; {
		w.act(t)
		if time.Since(began) > time.Duration(len(heaps)+1)*total/10 {
			heaps = append(heaps, heap())
		}
	}
	heaps = append(heaps, heap())
	sum := w.finish(t)

	status := s.token.Status()
	fmt.Printf("%d connections that ended, %d broken off on purpose, %d strangers; %d MiB to the target, %d MiB from it\n"+
		"%v; %d signatures, %d outages, at most %d sessions; KiB of heap %v\n",
		sum.clean.Load(), sum.broken.Load(), w.strangers.n.Load(), sum.to.Load()>>20, sum.from.Load()>>20,
		w.director, status.Signatures, status.Outages, s.PeakSessions(), heaps)
	require.Less(t, heaps[len(heaps)-1], heaps[0]+maxGrowth)
	require.LessOrEqual(t, s.PeakSessions(), 8+2, "sessions: eight at work, one that takes the place of another, and one that logs out")
	require.Zero(t, status.Hung)
	require.Zero(t, s.Misuse())
	require.NoError(t, s.token.Close())
	require.Zero(t, s.Sessions())
	requireHolds(t, before)
}

// requireHolds waits for what is on its way out. It polls by itself because Eventually
// has goroutines. The standard library keeps pipes for splice(2) until the collector
// has found them twice.
func requireHolds(t *testing.T, want held) {
	t.Helper()
	now := holds(t)
	for end := time.Now().Add(10 * time.Second); !reflect.DeepEqual(now, want) && time.Now().Before(end); now = holds(t) {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	require.Equal(t, want, now)
}

// touchNetwork has the runtime open what it keeps open.
func touchNetwork(t *testing.T) {
	ln, err := net.Listen("tcp", loopback+":0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
}

// A soakWorld is all there is in the soak: a target behind a server, two clients of
// it, what goes through them, and who changes the world.
type soakWorld struct {
	*director
	target    *target
	server    *half
	resuming  *half // a client on TCP
	full      *half // a client on a Unix socket that resumes nothing
	loads     map[*half]*load
	strangers *strangers
	end       chan struct{}
	stop      func() // the load, and waits for it
}

func newSoakWorld(t *testing.T, s *station) *soakWorld {
	w := &soakWorld{director: newDirector(t, s), target: startTarget(t), end: make(chan struct{})}
	w.server = startHalf(t, tunnel.Config{
		Mode: tunnel.Server, Provider: w.watch(s.patient()), Alias: acquirer, Listen: loopback + ":0",
		Target: w.target.Addr().String(), Rules: tunnel.Rules{CommonNames: []string{"unit 1", guests}},
	})
	w.resuming = s.tunnelClient(t, s.patient(), loopback+":0", w.server)
	never := s.patient()
	never.SessionLifetime = -1
	w.full = s.tunnelClient(t, never, "unix:"+filepath.Join(t.TempDir(), "plain"), w.server)
	w.loads = make(map[*half]*load)
	for _, h := range []*half{w.resuming, w.full, w.server} {
		w.loads[h] = newLoad(t, h, w.end)
	}
	w.addr, w.director.full = w.server.Addr().String(), w.loads[w.full]
	w.strangers = newStrangers(s, w.addr)
	w.stop = sync.OnceFunc(func() {
		close(w.end)
		for _, l := range w.loads {
			l.working.Wait()
		}
	})
	t.Cleanup(w.stop)
	return w
}

// start sets everything going.
func (w *soakWorld) start() {
	l := w.loads[w.resuming]
	for range 4 {
		l.every(200*time.Millisecond, l.short)
		l.trickle(100 * time.Millisecond)
	}
	l.every(2*time.Second, l.large)
	for _, f := range []func() error{l.digest, l.listen, l.breakOff, l.beBrokenOff} {
		l.every(500*time.Millisecond, f)
	}
	f := w.loads[w.full]
	f.every(250*time.Millisecond, f.short)
	f.trickle(time.Second)
	w.loads[w.server].every(500*time.Millisecond, w.strangers.try)
}

// finish ends the load and the tunnels, and compares what they and the target have
// counted with what was done. It returns the sums of the server.
func (w *soakWorld) finish(t *testing.T) *load {
	w.stop()
	for _, h := range []*half{w.resuming, w.full, w.server} {
		require.NoError(t, h.stop())
		require.Zero(t, w.loads[h].failed.Load())
	}
	require.NoError(t, w.target.Close())
	w.target.working.Wait()

	w.loads[w.resuming].requireStatus(t, w.resuming, nil)
	w.loads[w.full].requireStatus(t, w.full, nil)
	sum := w.guestLoad
	sum.add(w.loads[w.resuming])
	sum.add(w.loads[w.full])
	sum.requireStatus(t, w.server, map[tunnel.Reason]uint64{
		tunnel.ReasonHandshake: w.strangers.n.Load() + w.guestRefused,
		tunnel.ReasonWithdrawn: w.guestWithdrawn,
	})
	require.EqualValues(t, sum.clean.Load(), w.target.clean.Load(), "streams that ended at the target")
	require.EqualValues(t, sum.broken.Load()+w.guestWithdrawn, w.target.broken.Load(), "and that broke off")
	require.EqualValues(t, sum.late.Load(), w.target.late.Load())
	return sum
}

// requireStatus compares a half's counts with the load's.
func (l *load) requireStatus(t *testing.T, h *half, others map[tunnel.Reason]uint64) {
	t.Helper()
	s, want := h.Status(), l.ended(others)
	require.Equal(t, want, s.Ended)
	require.Equal(t, want, h.ended, "in the log")
	total := uint64(0)
	for _, n := range want {
		total += n
	}
	require.Equal(t, total, s.Accepted)
	require.Zero(t, s.Open+s.Pending)
	require.Equal(t, tunnel.Ended, s.State)
	requireBetween(t, l.to.Load(), s.ToTarget, l.lost.Load())
	requireBetween(t, l.from.Load(), s.FromTarget, l.lost.Load())
	require.Positive(t, l.clean.Load())
}

// requireBetween allows for what was on its way when connections broke off.
func requireBetween(t *testing.T, least, got, slack uint64) {
	t.Helper()
	require.GreaterOrEqual(t, got, least)
	require.LessOrEqual(t, got, least+slack)
}
