// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"net/http"
	"sync"
)

// installing serialises InstallDefault and its restore functions. It cannot
// protect [http.DefaultTransport] from anyone else.
var installing sync.Mutex

// InstallDefault makes every user of [http.DefaultTransport], [http.Get] among
// them, present the identity alias, and refuse http URLs as [Provider.Transport]
// does. It exists for programs that cannot be changed to pass a client; a new
// program should use Transport.
//
// Call it in main before any goroutine uses HTTP, because the variable it sets
// is not synchronised. Clones of the old default made before are not affected.
// restore puts the old default back, unless someone replaced ours meanwhile; it
// may be called more than once.
//
// Errors: [ErrIncomplete], [ErrOutOfRange]. An alias unknown to Keys shows at the
// first request.
func (p *Provider) InstallDefault(alias string) (restore func(), err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if alias == "" {
		return nil, errEmptyAlias
	}
	ours := p.Transport(Alias(alias))
	installing.Lock()
	defer installing.Unlock()
	old := http.DefaultTransport
	http.DefaultTransport = ours
	return sync.OnceFunc(func() { restoreDefault(ours, old) }), nil
}

func restoreDefault(ours *http.Transport, old http.RoundTripper) {
	installing.Lock()
	defer installing.Unlock()
	if http.DefaultTransport == http.RoundTripper(ours) {
		http.DefaultTransport = old
	}
	ours.CloseIdleConnections()
}
