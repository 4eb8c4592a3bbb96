// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package faultp11

import (
	"math"
	"slices"
	"strings"
	"time"
)

// A Mode is what happens to a call.
type Mode int

// The modes. FailActive exists because some tokens do what the standard
// forbids: after it, C_SignInit in the same session is CKR_OPERATION_ACTIVE.
const (
	Fail         Mode = iota + 1 // answer Code; a signature that the standard ends then is ended
	FailActive                   // answer Code, and leave the operation active
	LoseAnswer                   // do it, then answer Code
	Delay                        // wait For, then do it
	Hang                         // wait for [Module.Release], then do it
	LoseSessions                 // close every session, then do it
	Flip                         // spoil a bit of the signature; C_Sign and C_SignFinal only
	Forget                       // acknowledge a write that is not done; writing functions only
	Kill                         // kill -9 the calling process, unless it is the one that built the module
	KillAfter                    // do it, then kill -9 likewise
)

// ForEver as [Fault.Times] hits every call.
const ForEver = -1

// mostTimes is the most a rule can count (faultp11.h).
const mostTimes = 1<<12 - 2

// A Fault is what happens to some calls of one function. Mode is required.
type Fault struct {
	Mode  Mode
	Code  uint          // CKR_; required by Fail, FailActive and LoseAnswer
	For   time.Duration // required by Delay; up to 71 minutes, in steps of a microsecond
	Times int           // how many calls are hit, up to 4094. Zero means one
	After int           // how many calls pass before, up to 4094
}

// writers are the functions that can be acknowledged without being done.
var writers = []string{"C_InitPIN", "C_SetPIN", "C_CreateObject", "C_CopyObject", "C_DestroyObject", "C_SetAttributeValue", "C_GenerateKeyPair"}

// Inject gives a function a fault, in place of the one it has. Faults of the
// real C_Sign and of its length query, "C_Sign(NULL)", are separate.
func (m *Module) Inject(function string, f Fault) {
	if m.t != nil {
		m.t.Helper()
	}
	if problem := f.problem(function); problem != "" {
		m.misuse("%s: %s", function, problem)
	}
	m.function(function).rule.Store(f.rule())
}

func (f Fault) problem(function string) string {
	answers := f.Mode == Fail || f.Mode == FailActive || f.Mode == LoseAnswer
	signs := function == "C_Sign" || function == "C_SignFinal"
	switch {
	case f.Mode < Fail || f.Mode > KillAfter:
		return "fault without a mode"
	case answers && (f.Code == 0 || f.Code > math.MaxUint32):
		return "fault without a code"
	case f.Mode == Delay && (f.For <= 0 || f.For.Microseconds() > math.MaxUint32):
		return "delay out of range"
	case f.Mode == Flip && !signs:
		return "it makes no signature"
	case f.Mode == Forget && !slices.Contains(writers, function):
		return "it writes nothing; these do: " + strings.Join(writers, ", ")
	case f.Times < ForEver || f.Times > mostTimes || f.After < 0 || f.After > mostTimes:
		return "count out of range"
	}
	return ""
}

// rule is the fault as one word (faultp11.h).
func (f Fault) rule() uint64 {
	modes := [...]uint64{Fail: 1, FailActive: 2, LoseAnswer: 3, Delay: 4, Hang: 5, LoseSessions: 6, Flip: 7, Forget: 8, Kill: 9, KillAfter: 10}
	times, value := uint64(max(f.Times, 1)), uint64(f.Code)
	if f.Times == ForEver {
		times = mostTimes + 1
	}
	if f.Mode == Delay {
		value = uint64(f.For.Microseconds())
	}
	return value | modes[f.Mode]<<32 | times<<40 | uint64(f.After)<<52
}

// Fail lets the next calls of a function fail with a code, without reaching the
// real module.
func (m *Module) Fail(function string, times int, code uint) {
	m.Inject(function, Fault{Mode: Fail, Times: times, Code: code})
}

// LoseAnswer lets the real module do the next calls and answers a code anyway,
// as if the connection broke on the way back.
func (m *Module) LoseAnswer(function string, times int, code uint) {
	m.Inject(function, Fault{Mode: LoseAnswer, Times: times, Code: code})
}

// FlipSignatures spoils one bit of the next signatures.
func (m *Module) FlipSignatures(times int) {
	m.Inject("C_Sign", Fault{Mode: Flip, Times: times})
	m.Inject("C_SignFinal", Fault{Mode: Flip, Times: times})
}

// Hang lets the next calls of a function hang until Release, which is called
// when the test ends if not before.
func (m *Module) Hang(function string, times int) {
	if m.t != nil {
		m.t.Cleanup(m.Release) // before what was opened earlier is closed, and waits
	}
	m.Inject(function, Fault{Mode: Hang, Times: times})
}

// Release lets hanging calls go on, and no further ones hang.
func (m *Module) Release() {
	for i := range m.ctl.function {
		f := &m.ctl.function[i]
		if rule := f.rule.Load(); rule>>32&0xff == uint64(Hang) {
			f.rule.CompareAndSwap(rule, 0)
		}
	}
	m.ctl.release.Add(1)
}

// Delay makes every call of a function take longer. Zero ends it. The fault a
// function may have beside is not touched.
func (m *Module) Delay(function string, d time.Duration) {
	m.function(function).delay.Store(nanoseconds(d))
}

// DelayAll makes every call of every function take longer, the length query of
// C_Sign too: a token behind a network. Zero ends it.
func (m *Module) DelayAll(d time.Duration) { m.ctl.delay.Store(nanoseconds(d)) }

func nanoseconds(d time.Duration) uint64 { return uint64(max(d, 0)) }

// Parallel limits how many calls the token works on at once; further ones wait,
// as they do for one that hangs. Zero ends it. With DelayAll it is a device of a
// certain speed.
func (m *Module) Parallel(n int) { m.ctl.parallel.Store(uint64(max(n, 0))) }

// KillAt kills every other process (kill -9) that makes the n-th call from now,
// before the call reaches the real module. Zero ends it. The process that built
// the module is never killed and its calls do not count.
func (m *Module) KillAt(n int) { m.kill(n, 0) }

// KillPast is KillAt, after the real module has done the call and before the
// caller hears of it.
func (m *Module) KillPast(n int) { m.kill(n, 1) }

func (m *Module) kill(n int, late uint64) {
	m.ctl.kill.Store(0)
	m.ctl.late.Store(late)
	m.ctl.kill.Store(uint64(max(n, 0)))
}

// Clear ends the fault and the delay of one function.
func (m *Module) Clear(function string) {
	f := m.function(function)
	f.rule.Store(0)
	f.delay.Store(0)
}
