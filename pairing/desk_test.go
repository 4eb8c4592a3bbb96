// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// clock is a wall clock that can be set, running with the bubble's time.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) jump(d time.Duration) { c.offset.Add(int64(d)) }
func otherCode(t *testing.T, c Code) Code {
	t.Helper()
	first := byte('0')
	if c.text[0] == first {
		first = '1'
	}
	other, err := ParseCode(string(first) + c.text[1:])
	require.NoError(t, err)
	return other
}

// inDesk runs f with a desk that shows a code, in a bubble of time.
func inDesk(t *testing.T, f func(t *testing.T, d *desk, c *clock)) {
	synctest.Test(t, func(t *testing.T) {
		c := new(clock)
		d := newDesk(c.now, new(hub))
		require.NoError(t, d.open())
		f(t, d, c)
		d.shut()
		require.ErrorIs(t, d.open(), ErrClosed)
	})
}

func TestCodeLivesFor300Seconds(t *testing.T) {
	t.Parallel()
	inDesk(t, func(t *testing.T, d *desk, c *clock) {
		first := d.snapshot()
		require.Equal(t, PhaseShowing, first.Phase)
		require.Equal(t, codeLife, first.Left)
		require.Equal(t, c.now().Add(codeLife).Round(0), first.Expires)

		time.Sleep(codeLife - time.Millisecond)
		require.Equal(t, first.Code, d.snapshot().Code)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		second := d.snapshot()
		require.NotEqual(t, first.Code, second.Code)
		require.Equal(t, codeLife, second.Left)

		_, err := d.try(first.Code)
		require.ErrorIs(t, err, ErrCode)
		_, err = d.try(second.Code)
		require.NoError(t, err)
	})
}

// TestCodeIsReplacedWhileShown sees to it that this happens by itself, and is told.
func TestCodeIsReplacedWhileShown(t *testing.T) {
	t.Parallel()
	inDesk(t, func(t *testing.T, d *desk, _ *clock) {
		l := newListener()
		d.listen(l)
		time.Sleep(3*codeLife + time.Second)
		synctest.Wait()
		events := l.take()
		require.Len(t, events, 4)
		require.Equal(t, EventState, events[0].Kind)
		for _, e := range events[1:] {
			require.Equal(t, EventCode, e.Kind)
			require.Equal(t, codeLife, e.State.Left)
		}
	})
}

func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		jump     time.Duration
		replaced bool
	}{
		"an hour on":           {time.Hour, true},
		"past the end":         {codeLife - 100*time.Second, true},
		"not past the end":     {codeLife - 101*time.Second, false},
		"an hour back":         {-time.Hour, false},
		"years back":           {-20 * 365 * 24 * time.Hour, false},
		"to the end of a year": {365 * 24 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inDesk(t, func(t *testing.T, d *desk, c *clock) {
				time.Sleep(100 * time.Second)
				first := d.snapshot().Code
				c.jump(test.jump)
				require.Equal(t, test.replaced, d.snapshot().Code != first)
				if !test.replaced { // and no longer than it should
					time.Sleep(200 * time.Second)
					synctest.Wait()
					require.NotEqual(t, first, d.snapshot().Code)
				}
			})
		})
	}
}

func TestClockJumpIsShown(t *testing.T) {
	t.Parallel()
	inDesk(t, func(t *testing.T, d *desk, c *clock) {
		l := newListener()
		d.listen(l)
		c.jump(time.Hour)
		time.Sleep(deskTick)
		synctest.Wait()
		events := l.take()
		require.Len(t, events, 2)
		require.Equal(t, EventCode, events[1].Kind)
	})
}

func TestWrongCodesBurn(t *testing.T) {
	t.Parallel()
	inDesk(t, func(t *testing.T, d *desk, _ *clock) {
		first := d.snapshot().Code
		wrong := otherCode(t, first)
		for n := range triesPerCode - 1 {
			_, err := d.try(wrong)
			require.ErrorIs(t, err, ErrCode)
			require.Equal(t, n+1, d.snapshot().Wrong)
			require.Equal(t, first, d.snapshot().Code)
		}
		_, err := d.try(wrong)
		require.ErrorIs(t, err, ErrCode)
		s := d.snapshot()
		require.NotEqual(t, first, s.Code)
		require.Equal(t, State{Phase: PhaseShowing, Code: s.Code, Expires: s.Expires, Left: codeLife, Burnt: 1}, s)
		_, err = d.try(first)
		require.ErrorIs(t, err, ErrCode, "a burnt code")
	})
}

// burn burns n codes in a row.
func burn(t *testing.T, d *desk, n int) {
	t.Helper()
	for range n * triesPerCode {
		_, err := d.try(otherCode(t, d.snapshot().Code))
		require.ErrorIs(t, err, ErrCode)
	}
}

func TestTenBurntCodesBlock(t *testing.T) {
	t.Parallel()
	inDesk(t, func(t *testing.T, d *desk, _ *clock) {
		burn(t, d, burntInARow-1)
		last := d.snapshot()
		require.Equal(t, PhaseShowing, last.Phase)
		burn(t, d, 1)
		require.Equal(t, PhaseBlocked, d.snapshot().Phase)
		require.True(t, d.snapshot().Code.IsZero())
		_, err := d.try(last.Code)
		require.ErrorIs(t, err, ErrCode)
		time.Sleep(2 * codeLife)
		synctest.Wait()
		require.Equal(t, PhaseBlocked, d.snapshot().Phase, "time does not cure it")

		require.NoError(t, d.open(), "the operator does")
		require.Equal(t, 0, d.snapshot().Burnt)
		_, err = d.try(d.snapshot().Code)
		require.NoError(t, err)
	})
}

func TestRowOfBurntCodesEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, d *desk){
		"a code that was not burnt": func(*testing.T, *desk) { time.Sleep(codeLife) },
		"the operator":              func(t *testing.T, d *desk) { require.NoError(t, d.open()) },
		"a POS that is paired": func(t *testing.T, d *desk) {
			c, err := d.try(d.snapshot().Code)
			require.NoError(t, err)
			d.succeed(c, "1")
			require.NoError(t, d.open())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inDesk(t, func(t *testing.T, d *desk, _ *clock) {
				burn(t, d, burntInARow-1)
				end(t, d)
				burn(t, d, burntInARow-1)
				require.Equal(t, PhaseShowing, d.snapshot().Phase)
			})
		})
	}
}

func TestCodeIsUsedOnce(t *testing.T) {
	t.Parallel()
	inDesk(t, func(t *testing.T, d *desk, _ *clock) {
		code := d.snapshot().Code
		c, err := d.try(code)
		require.NoError(t, err)
		require.Equal(t, PhaseWorking, d.snapshot().Phase)
		_, err = d.try(code)
		require.ErrorIs(t, err, errTaken)
		_, err = d.try(otherCode(t, code))
		require.ErrorIs(t, err, ErrCode)
		time.Sleep(2 * codeLife)
		require.Equal(t, PhaseWorking, d.snapshot().Phase, "a code in use does not expire")

		d.succeed(c, "till 4")
		require.Equal(t, State{Phase: PhasePaired, POSID: "till 4"}, d.snapshot())
		_, err = d.try(code)
		require.ErrorIs(t, err, ErrCode)
		d.dismiss()
		require.Equal(t, State{Phase: PhaseIdle}, d.snapshot())
	})
}

func TestFailureShowsAnotherCode(t *testing.T) {
	t.Parallel()
	inDesk(t, func(t *testing.T, d *desk, _ *clock) {
		l := newListener()
		d.listen(l)
		code := d.snapshot().Code
		c, err := d.try(code)
		require.NoError(t, err)
		broken := errors.New("broken")
		d.fail(c, "till 4", broken)
		s := d.snapshot()
		require.Equal(t, PhaseShowing, s.Phase)
		require.NotEqual(t, code, s.Code)
		var kinds []EventKind
		for _, e := range l.take() {
			kinds = append(kinds, e.Kind)
			if e.Kind == EventFailed {
				require.ErrorIs(t, e.Err, broken)
				require.Equal(t, "till 4", e.POSID)
			}
		}
		require.Equal(t, []EventKind{EventState, EventWorking, EventFailed, EventCode}, kinds)
	})
}

// TestOperatorGoesOn sees to it that what a POS does late does not disturb what
// the operator did meanwhile.
func TestOperatorGoesOn(t *testing.T) {
	t.Parallel()
	finish := map[string]func(*desk, claim){
		"succeeds": func(d *desk, c claim) { d.succeed(c, "1") },
		"fails":    func(d *desk, c claim) { d.fail(c, "1", ErrBundle) },
	}
	for name, finish := range finish {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inDesk(t, func(t *testing.T, d *desk, _ *clock) {
				c, err := d.try(d.snapshot().Code)
				require.NoError(t, err)
				require.NoError(t, d.open())
				shown := d.snapshot()
				finish(d, c)
				require.Equal(t, shown, d.snapshot())

				c, err = d.try(shown.Code)
				require.NoError(t, err)
				d.dismiss()
				finish(d, c)
				require.Equal(t, PhaseIdle, d.snapshot().Phase)
			})
		})
	}
}

func TestNoCodeIsShown(t *testing.T) {
	t.Parallel()
	d := newDesk(time.Now, new(hub))
	_, err := d.try(newCode())
	require.ErrorIs(t, err, ErrCode)
	_, err = d.try(Code{})
	require.ErrorIs(t, err, ErrCode)
	require.Equal(t, State{Phase: PhaseIdle}, d.snapshot())
}

func TestSlowListenerMissesTheOldest(t *testing.T) {
	t.Parallel()
	l := newListener()
	for range maxEvents {
		l.put(Event{Kind: EventWrong})
	}
	l.put(Event{Kind: EventPaired})
	events := l.take()
	require.Len(t, events, maxEvents)
	require.Equal(t, EventPaired, events[maxEvents-1].Kind)
}

func TestNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, "blocked", PhaseBlocked.String())
	require.Equal(t, "revoked", EventRevoked.String())
	require.Equal(t, "none", Phase(99).String())
	require.Equal(t, "none", EventKind(-1).String())
}
