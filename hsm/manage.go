// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"context"
	"fmt"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// InitConfig is a token to initialise.
type InitConfig struct {
	// Module is the path of the PKCS#11 library. Required.
	Module string

	// ModuleHost is that of [Config].
	ModuleHost string

	// Token, Serial and SlotID name the token as in [Config]. With none set,
	// the first blank token of the module is taken.
	Token  string
	Serial string
	SlotID *uint

	// Label is the new label, 1 to 32 bytes. Required, and refused if another
	// token of the module has it.
	Label string

	// SOPIN is the PIN of the security officer: the new one for a blank token,
	// the present one for a token that is wiped. PIN is the new user PIN. Both
	// are required.
	SOPIN PIN
	PIN   PIN

	// Wipe allows a token that is initialised already to be wiped, keys and
	// certificates included.
	Wipe bool
}

// Init initialises a token (C_InitToken) and sets its user PIN (C_InitPIN). A
// token that is initialised already is left alone with [ErrInitialized] unless
// Wipe is set; one that is open in this process is [ErrBusy].
func Init(ctx context.Context, cfg InitConfig) (Info, error) {
	soPIN, err := cfg.SOPIN.get(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("hsm: SO PIN: %w", err)
	}
	defer clear(soPIN)
	pin, err := cfg.PIN.get(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("hsm: user PIN: %w", err)
	}
	defer clear(pin)
	info, err := p11.InitToken(ctx, p11.InitRequest{
		Module: cfg.Module,
		Host:   cfg.ModuleHost,
		Select: p11.Selector{Label: cfg.Token, Serial: cfg.Serial, Slot: cfg.SlotID},
		Label:  cfg.Label,
		SOPIN:  soPIN,
		PIN:    pin,
		Wipe:   cfg.Wipe,
	})
	if err != nil {
		return Info{}, wrap(err)
	}
	return newInfo(info), nil
}

// UnblockPIN sets the user PIN anew as the security officer (C_InitPIN), which
// also unlocks it, and describes the token. cfg names it; its PIN is not used. The
// token must not be open in this process ([ErrBusy]). A wrong SO PIN is [ErrPIN] and
// was tried once.
func UnblockPIN(ctx context.Context, cfg Config, soPIN, newPIN PIN) (Info, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return Info{}, fmt.Errorf("hsm: %w", err)
	}
	officer, err := soPIN.get(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("hsm: SO PIN: %w", err)
	}
	defer clear(officer)
	user, err := newPIN.get(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("hsm: new PIN: %w", err)
	}
	defer clear(user)
	info, err := p11.InitPIN(ctx, p11.PINRequest{
		Module: cfg.Module,
		Host:   cfg.ModuleHost,
		Select: cfg.selector(),
		SOPIN:  officer,
		NewPIN: user,
	})
	if err != nil {
		return Info{}, wrap(err)
	}
	return newInfo(info), nil
}
