// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"errors"
	"sync/atomic"
)

// liveIdentity is what the listeners and bare configurations of one alias present
// at the moment.
type liveIdentity struct{ now atomic.Pointer[identity] }

// keep makes id what its alias presents from now on.
func (p *Provider) keep(id *identity) *liveIdentity {
	live, _ := p.state().live.LoadOrStore(id.alias, new(liveIdentity))
	live.(*liveIdentity).now.Store(id)
	return live.(*liveIdentity)
}

// Refresh asks Keys again for every alias that a listener or a bare
// configuration of p presents, so that a renewed certificate is presented without
// a restart. Sessions of the old certificate are not resumed; open connections
// go on. Dialling asks Keys anyway.
//
// An alias that fails keeps its identity; the errors of all that failed are
// joined, each [ErrIncomplete].
func (p *Provider) Refresh(ctx context.Context) error {
	if err := p.check(); err != nil {
		return err
	}
	var failed []error
	p.state().live.Range(func(alias, _ any) bool {
		id, err := p.identity(ctx, alias.(string))
		if err != nil {
			failed = append(failed, err)
			return true
		}
		p.keep(id)
		return true
	})
	return errors.Join(failed...)
}
