// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"fmt"

	"github.com/miekg/pkcs11"
)

// List describes the tokens of a module, in slot order, with their mechanisms. Host
// is that of [Config].
func List(ctx context.Context, path, host string) (found []TokenInfo, err error) {
	m, err := moduleFor(path, host)
	if err != nil {
		return nil, err
	}
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.unlock()
	err = m.manage(ctx, func(raw library) error {
		if found, err = m.list(raw); err != nil {
			return err
		}
		for i := range found {
			found[i].Library = libraryName(raw)
			found[i].Mechanisms, _ = mechanisms(raw, found[i].Slot)
		}
		return nil
	})
	return found, err
}

// InitToken initialises a token and sets its user PIN. Errors:
// [ErrInitialized] without Wipe, and for a label that another token has;
// [ErrBusy] for a token that is open in this process.
func InitToken(ctx context.Context, r InitRequest) (info TokenInfo, err error) {
	if err := r.check(); err != nil {
		return TokenInfo{}, err
	}
	m, err := moduleFor(r.Module, r.Host)
	if err != nil {
		return TokenInfo{}, err
	}
	if err := m.lock(ctx); err != nil {
		return TokenInfo{}, err
	}
	defer m.unlock()
	err = m.manage(ctx, func(raw library) error {
		slot, err := m.slotToInit(raw, r)
		if err != nil {
			return err
		}
		if err := raw.InitToken(slot, string(r.SOPIN), r.Label); err != nil {
			return wrap("C_InitToken", err)
		}
		if err := initPIN(raw, slot, r.SOPIN, r.PIN); err != nil {
			return err
		}
		info, err = tokenInfo(raw, m.path, slot)
		info.Library = libraryName(raw)
		return err
	})
	return info, err
}

func (r InitRequest) check() error {
	switch {
	case r.Label == "" || len(r.Label) > 32:
		return fmt.Errorf("token label must have 1 to 32 bytes, not %d", len(r.Label))
	case len(r.SOPIN) == 0 || len(r.PIN) == 0:
		return ErrNoPIN
	}
	return nil
}

// slotToInit finds the token that may be initialised.
func (m *module) slotToInit(raw library, r InitRequest) (uint, error) {
	found, err := m.list(raw)
	if err != nil {
		return 0, err
	}
	info, err := r.target(m.path, found)
	if err != nil {
		return 0, err
	}
	for _, other := range found {
		if other.Slot != info.Slot && other.Flags.Initialized && other.Label == r.Label {
			return 0, fmt.Errorf("%w: %q is the label of serial %s", ErrInitialized, r.Label, other.Serial)
		}
	}
	switch {
	case info.Flags.Initialized && !r.Wipe:
		return 0, fmt.Errorf("%w: %q, serial %s", ErrInitialized, info.Label, info.Serial)
	case m.core(info) != nil:
		return 0, fmt.Errorf("%w: it is open in this process", ErrBusy)
	case info.Flags.Initialized:
		return info.Slot, mayTrySOPIN(info)
	}
	return info.Slot, nil
}

// target is the token that r means.
func (r InitRequest) target(path string, found []TokenInfo) (TokenInfo, error) {
	if r.Select != (Selector{}) {
		return chooseToken(path, r.Select, found)
	}
	for _, info := range found {
		if !info.Flags.Initialized {
			return info, nil
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return TokenInfo{}, &TokenError{Module: path, Select: r.Select, Found: found}
}

// InitPIN sets the user PIN as the security officer, which unlocks it. The
// token must not be open in this process ([ErrBusy]): PKCS#11 has one login for
// the process, and that would be the user's.
func InitPIN(ctx context.Context, r PINRequest) (TokenInfo, error) {
	if len(r.NewPIN) == 0 {
		return TokenInfo{}, ErrNoPIN
	}
	return asOfficer(ctx, OfficerRequest{r.Module, r.Host, r.Select, r.SOPIN}, func(raw library, s pkcs11.SessionHandle) error {
		return setUserPIN(raw, s, r.NewPIN)
	})
}

// initPIN logs in as the security officer and sets the user PIN.
func initPIN(raw library, slot uint, soPIN, pin []byte) error {
	return withOfficer(raw, slot, soPIN, func(s pkcs11.SessionHandle) error { return setUserPIN(raw, s, pin) })
}

func setUserPIN(raw library, s pkcs11.SessionHandle, pin []byte) error {
	return wrap("C_InitPIN", raw.InitPIN(s, string(pin)))
}
