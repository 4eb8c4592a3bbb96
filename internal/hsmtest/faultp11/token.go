// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build unix

package faultp11

// LoseSessions closes every session behind the application's back, and with
// them the login: each process notices at its next call.
func (m *Module) LoseSessions() { m.ctl.lose.Add(1) }

// Uninitialise finalises the real module behind the application's back: every
// call is CKR_CRYPTOKI_NOT_INITIALIZED until C_Initialize.
func (m *Module) Uninitialise() { m.ctl.uninitialise.Add(1) }

// Disconnect answers every call with the code until C_Finalize and
// C_Initialize, as clients of network devices do that do not connect again by
// themselves. [Module.Remove] beside it keeps the device away for longer.
func (m *Module) Disconnect(code uint) {
	m.ctl.disconnectCode.Store(uint64(code))
	m.ctl.disconnect.Add(1)
}

// Remove pulls the token out: sessions are lost, calls in them are
// CKR_DEVICE_REMOVED, the slot is empty and calls on it are
// CKR_TOKEN_NOT_PRESENT. It is out of all slots of the module.
func (m *Module) Remove() {
	m.ctl.removed.Store(1)
	m.LoseSessions()
}

// Insert puts the token back. The sessions it had are gone.
func (m *Module) Insert() {
	m.LoseSessions() // one may have been opened while it was pulled out
	m.ctl.removed.Store(0)
}

// MaxSessions limits the sessions of a token, as CK_TOKEN_INFO then says and
// C_OpenSession enforces in each process. Zero ends it.
func (m *Module) MaxSessions(n int) { m.ctl.maxSessions.Store(uint64(max(n, 0))) }

// MaxRWSessions limits the read/write sessions only. Zero ends it.
func (m *Module) MaxRWSessions(n int) { m.ctl.maxRWSessions.Store(uint64(max(n, 0))) }

// Hide takes mechanisms (CKM_) from the token: they are not in its list, and
// C_SignInit and C_GenerateKeyPair refuse them. No argument ends it.
func (m *Module) Hide(mechanisms ...uint) {
	if len(mechanisms) > len(m.ctl.hiddenMechanism) {
		m.misuse("%d mechanisms to hide, %d at most", len(mechanisms), len(m.ctl.hiddenMechanism))
	}
	m.ctl.hidden.Store(0)
	for i, mechanism := range mechanisms {
		m.ctl.hiddenMechanism[i].Store(uint64(mechanism))
	}
	m.ctl.hidden.Store(uint64(len(mechanisms)))
}

// PINFlags adds flags (CKF_) to those in CK_TOKEN_INFO, such as
// [UserPINFinalTry]. No argument ends it. The PIN itself works as before:
// see Fail("C_Login", ...) and [Module.PINTries].
func (m *Module) PINFlags(flags ...uint) {
	var all uint64
	for _, flag := range flags {
		all |= uint64(flag)
	}
	m.ctl.pinFlags.Store(all)
}

// PINTries makes the token count wrong user PINs, which SoftHSM does not: its
// flags go from PIN_COUNT_LOW to PIN_FINAL_TRY to PIN_LOCKED, and after n in a
// row C_Login is CKR_PIN_LOCKED until the security officer sets the PIN. Zero
// ends it.
func (m *Module) PINTries(n int) {
	m.ctl.pinLeft.Store(uint64(max(n, 0)))
	m.ctl.pinTries.Store(uint64(max(n, 0)))
}

// A Refusal is an attribute that the token does not take in the templates of
// C_CreateObject, C_CopyObject, C_GenerateKeyPair and C_SetAttributeValue.
type Refusal struct {
	Attribute uint   // CKA_; required
	Classes   []uint // CKO_, which the template has to name; empty means any
	Code      uint   // CKR_; zero means CKR_ATTRIBUTE_TYPE_INVALID
	OnlyTrue  bool   // the value CK_FALSE is taken
}

// Refuse sets what attributes the token refuses. No argument ends it.
func (m *Module) Refuse(refusals ...Refusal) {
	m.ctl.refused.Store(0)
	n := 0
	for _, r := range refusals {
		classes := r.Classes
		if len(classes) == 0 {
			classes = []uint{^uint(0)}
		}
		for _, class := range classes {
			if n == len(m.ctl.refusal) {
				m.misuse("more than %d refusals", n)
			}
			m.ctl.refusal[n].set(r, uint64(class))
			n++
		}
	}
	m.ctl.refused.Store(uint64(n))
}

func (r *refusal) set(to Refusal, class uint64) {
	r.attribute.Store(uint64(to.Attribute))
	r.class.Store(class)
	r.code.Store(uint64(to.Code))
	if to.Code == 0 {
		r.code.Store(AttributeTypeInvalid)
	}
	r.onlyTrue.Store(0)
	if to.OnlyTrue {
		r.onlyTrue.Store(1)
	}
}

// RefuseAttributes makes the token not know attributes (CKA_): it takes them in
// no template and reads them from no object, with CKR_ATTRIBUTE_TYPE_INVALID.
// It replaces what Refuse set.
func (m *Module) RefuseAttributes(attributes ...uint) {
	refusals := make([]Refusal, len(attributes))
	for i, a := range attributes {
		refusals[i] = Refusal{Attribute: a}
	}
	m.Refuse(refusals...)
}

// Reset ends every fault, lets hanging calls go on, puts the token back and
// forgets what was counted.
func (m *Module) Reset() {
	for i := range m.ctl.function {
		m.ctl.function[i].rule.Store(0)
		m.ctl.function[i].delay.Store(0)
	}
	m.Release()
	m.DelayAll(0)
	m.Parallel(0)
	m.KillAt(0)
	m.MaxSessions(0)
	m.MaxRWSessions(0)
	m.Hide()
	m.PINFlags()
	m.PINTries(0)
	m.Refuse()
	if m.ctl.removed.Load() != 0 {
		m.Insert()
	}
	m.ResetCalls()
}
