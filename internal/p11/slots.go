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
// may find a slot missing that is there. The zero slotLock is ready to use.
type slotLock struct{ rw sync.RWMutex }

// use runs f, which changes no slot, beside others that do not either.
func (s *slotLock) use(f func() error) error {
	s.rw.RLock()
	defer s.rw.RUnlock()
	return f()
}

// change runs f, which may change slots, with nobody else at them. It does not
// wait for ever, and does not stand in the way of others while it waits: a call
// that hangs at one token must not take the rest with it.
func (s *slotLock) change(f func() error) error {
	for end := time.Now().Add(drainTime); !s.rw.TryLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errSlotsInUse
		}
	}
	defer s.rw.Unlock()
	return f()
}

var errSlotsInUse = errors.New("other calls are busy with the slots of the PKCS#11 module")

func (l linked) GetSlotList(present bool) (slots []uint, err error) {
	err = l.slots.use(func() error {
		slots, err = l.Ctx.GetSlotList(present)
		return err
	})
	return slots, err
}

func (l linked) GetTokenInfo(slot uint) (info pkcs11.TokenInfo, err error) {
	err = l.slots.use(func() error {
		info, err = l.Ctx.GetTokenInfo(slot)
		return err
	})
	return info, err
}

func (l linked) GetMechanismList(slot uint) (list []*pkcs11.Mechanism, err error) {
	err = l.slots.use(func() error {
		list, err = l.Ctx.GetMechanismList(slot)
		return err
	})
	return list, err
}

func (l linked) OpenSession(slot, flags uint) (s pkcs11.SessionHandle, err error) {
	err = l.slots.use(func() error {
		s, err = l.Ctx.OpenSession(slot, flags)
		return err
	})
	return s, err
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
