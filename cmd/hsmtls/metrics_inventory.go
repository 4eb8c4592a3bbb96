// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
)

const (
	inventoryAge  = time.Minute     // how old a list of certificates may be
	inventoryTime = 3 * time.Second // for reading one
)

// An ending is an identity and when it ends. JSON has these fields.
type ending struct {
	Alias    string    `json:"alias"`
	Key      string    `json:"key"`
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"not_after"` // of the first certificate of its chain that ends
	Problem  string    `json:"problem,omitempty"`
}

// An inventory lists the identities on a token, and asks the token at most once a
// minute, unless they have changed. It is safe for concurrent use.
type inventory struct {
	keys *keystore.Store

	mu   sync.Mutex
	read time.Time
	all  []ending
	err  error
}

// list returns the identities. With an error it is those of before. Who asks may go: what
// was read is for the others too.
func (i *inventory) list(ctx context.Context) ([]ending, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if time.Since(i.read) < inventoryAge {
		return i.all, i.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inventoryTime)
	defer cancel()
	infos, err := i.keys.Identities(ctx)
	i.read, i.err = time.Now(), err
	if err == nil {
		i.all = endings(infos)
	}
	return i.all, i.err
}

// forget has the token asked the next time.
func (i *inventory) forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.read = time.Time{}
}

func endings(infos []keystore.IdentityInfo) []ending {
	all := []ending{}
	for _, info := range infos {
		e := ending{Alias: clean(info.Alias), Key: clean(info.KeyAlias), Problem: problem(info.Problem)}
		if first, ok := info.Expiry(); ok {
			e.Subject, e.NotAfter = clean(info.Chain[0].Subject.String()), first.Certificate.NotAfter.UTC()
		}
		all = append(all, e)
	}
	return all
}

// A pairingTally counts what happens at a terminal.
type pairingTally struct {
	mu   sync.Mutex
	seen map[pairing.EventKind]uint64
}

// follow counts until ctx ends.
func (p *pairingTally) follow(ctx context.Context, terminal *pairing.Terminal) {
	for e := range terminal.Events(ctx) {
		p.mu.Lock()
		p.seen[e.Kind]++
		p.mu.Unlock()
	}
}

func (p *pairingTally) counts() map[pairing.EventKind]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.seen)
}
