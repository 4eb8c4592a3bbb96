// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsm

import (
	"context"
	"fmt"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// AsOfficer logs in to a token as its security officer and runs f, for the other
// packages of this module. cfg names the token; its PIN is not used. The token
// must not be open in this process ([ErrBusy]). A wrong SO PIN is [ErrPIN] and
// was tried once; with one try left it is not tried ([ErrPINFinalTry]). What f
// returns is returned as it is.
func AsOfficer(ctx context.Context, cfg Config, soPIN PIN, f func(p11.Officer) error) error {
	cfg, err := cfg.resolve()
	if err != nil {
		return fmt.Errorf("hsm: %w", err)
	}
	pin, err := soPIN.get(ctx)
	if err != nil {
		return fmt.Errorf("hsm: SO PIN: %w", err)
	}
	defer clear(pin)
	var answer error
	err = p11.AsOfficer(ctx, p11.OfficerRequest{Module: cfg.Module, Host: cfg.ModuleHost, Select: cfg.selector(), SOPIN: pin}, func(o p11.Officer) error {
		answer = f(o)
		return answer
	})
	if answer != nil {
		return answer
	}
	return wrap(err)
}
