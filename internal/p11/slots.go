// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"errors"
	"sync"
	"time"

	"github.com/miekg/pkcs11"
)

// A slotLock keeps the calls that name a slot, or list them, away from those that
// change what slots there are. SoftHSM 2.6.1 looks a slot up in a map without a
// lock and adds to that map: the first C_GetSlotList after a C_InitToken makes the
// next blank token. Two lists at that moment abort the process, and any other call
// may find a slot missing that is there. The former share it, the latter go through
// change. The zero slotLock is ready to use.
type slotLock struct{ sync.RWMutex }

// change runs f, which may change slots, with nobody else at them. It does not
// wait for ever, and does not stand in the way of others while it waits: a call
// that hangs at one token must not take the rest with it.
func (s *slotLock) change(f func() error) error {
	for end := time.Now().Add(drainTime); !s.TryLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errSlotsInUse
		}
	}
	defer s.Unlock()
	return f()
}

var errSlotsInUse = errors.New("other calls are busy with the slots of the PKCS#11 module")

func (l linked) GetSlotList(present bool) ([]uint, error) {
	l.slots.RLock()
	defer l.slots.RUnlock()
	return l.Ctx.GetSlotList(present)
}

func (l linked) GetTokenInfo(slot uint) (pkcs11.TokenInfo, error) {
	l.slots.RLock()
	defer l.slots.RUnlock()
	return l.Ctx.GetTokenInfo(slot)
}

func (l linked) GetMechanismList(slot uint) ([]*pkcs11.Mechanism, error) {
	l.slots.RLock()
	defer l.slots.RUnlock()
	return l.Ctx.GetMechanismList(slot)
}

func (l linked) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	l.slots.RLock()
	defer l.slots.RUnlock()
	return l.Ctx.OpenSession(slot, flags)
}

// InitToken lists the slots itself, so that no other list is the first after it.
func (l linked) InitToken(slot uint, soPIN, label string) error {
	return l.slots.change(func() error {
		err := l.Ctx.InitToken(slot, soPIN, label)
		if err == nil {
			_, _ = l.Ctx.GetSlotList(true)
		}
		return err
	})
}
