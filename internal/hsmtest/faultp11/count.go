// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package faultp11

// Calls returns how often a function was called, by all processes, failed calls
// included. "C_Sign" counts signatures and "C_Sign(NULL)" the length queries
// before them.
func (m *Module) Calls(function string) int { return int(m.function(function).calls.Load()) }

// Hits returns how many calls of a function met its fault.
func (m *Module) Hits(function string) int { return int(m.function(function).hits.Load()) }

// Total returns how often the module was called: on a network device, the
// round trips.
func (m *Module) Total() int { return int(m.ctl.total.Load()) }

// CallTable returns the functions that were called, with how often. It prints
// in alphabetical order.
func (m *Module) CallTable() map[string]int {
	table := make(map[string]int)
	for i, name := range functions {
		if n := m.ctl.function[i].calls.Load(); n > 0 {
			table[name] = int(n)
		}
	}
	return table
}

// InFlight returns how many calls of a function have not returned.
func (m *Module) InFlight(function string) int { return int(m.function(function).inside.Load()) }

// MaxInFlight returns the most calls of a function that were in flight at once.
func (m *Module) MaxInFlight(function string) int { return int(m.function(function).insideMax.Load()) }

// Hanging returns how many calls hang now.
func (m *Module) Hanging() int { return int(m.ctl.hanging.Load()) }

// Sessions returns how many sessions are open. One that a killed process had
// may stay counted.
func (m *Module) Sessions() int { return int(m.ctl.sessions.Load()) }

// PeakSessions returns the most sessions that were open at once.
func (m *Module) PeakSessions() int { return int(m.ctl.sessionsMax.Load()) }

// Misuse counts what an application must not do and many modules answer with a
// crash. The fault module itself endures it.
type Misuse struct {
	FinalizedInside int // C_Finalize while another call was in flight
	SharedSession   int // a call in a session while another was in flight in it
}

// Misuse returns what the application did wrong. The zero Misuse is right.
func (m *Module) Misuse() Misuse {
	return Misuse{
		FinalizedInside: int(m.ctl.finalizedInside.Load()),
		SharedSession:   int(m.ctl.sharedSession.Load()),
	}
}

// ResetCalls forgets what was counted. Calls and sessions that are under way
// stay, and the most of them start anew from there.
func (m *Module) ResetCalls() {
	for i := range m.ctl.function {
		f := &m.ctl.function[i]
		f.calls.Store(0)
		f.hits.Store(0)
		f.insideMax.Store(f.inside.Load())
	}
	m.ctl.total.Store(0)
	m.ctl.sessionsMax.Store(m.ctl.sessions.Load())
	m.ctl.finalizedInside.Store(0)
	m.ctl.sharedSession.Store(0)
}
