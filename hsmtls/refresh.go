// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"weak"
)

// A keysWatcher is Keys that tell when their answers may have changed.
type keysWatcher interface {
	Watch(changed func()) (stop func())
}

// liveIdentity is what the listeners and bare configurations of one alias present
// at the moment.
type liveIdentity struct{ now atomic.Pointer[identity] }

// liveIdentities is what is presented now, by alias.
type liveIdentities struct {
	changes atomic.Uint64 // of Keys, as far as is known
	asking  sync.Mutex    // held to ask Keys about all, so that no older answer wins

	mu    sync.Mutex
	alias map[string]weak.Pointer[liveIdentity] // listeners and configurations hold them
}

// keep makes id what its alias presents from now on, unless Keys have changed
// since: ok is false then.
func (l *liveIdentities) keep(id *identity, since uint64) (live *liveIdentity, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changes.Load() != since {
		return nil, false
	}
	return l.put(id), true
}

func (l *liveIdentities) put(id *identity) *liveIdentity {
	if l.alias == nil {
		l.alias = make(map[string]weak.Pointer[liveIdentity])
	}
	live := l.alias[id.alias].Value()
	if live == nil {
		live = new(liveIdentity)
		l.alias[id.alias] = weak.Make(live)
	}
	live.now.Store(id)
	return live
}

// renew is put for an alias that is presented.
func (l *liveIdentities) renew(id *identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alias[id.alias].Value() != nil {
		l.put(id)
	}
}

func (l *liveIdentities) aliases() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.alias, func(_ string, live weak.Pointer[liveIdentity]) bool { return live.Value() == nil })
	return slices.Collect(maps.Keys(l.alias))
}

func (l *liveIdentities) presents(alias string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alias[alias].Value() != nil
}

// present resolves alias for something that goes on presenting it.
func (p *Provider) present(ctx context.Context, alias string) (*liveIdentity, error) {
	for {
		if err := p.check(); err != nil {
			return nil, err
		}
		since := p.state().live.changes.Load()
		id, err := p.identity(ctx, alias)
		if err != nil {
			return nil, err
		}
		if live, ok := p.state().live.keep(id, since); ok {
			return live, nil
		}
	}
}

// Refresh asks Keys again for every alias that p has used, so that a renewed
// certificate is presented without a restart: by listeners, bare configurations
// and dialers in every new handshake. Sessions of the old certificate are
// forgotten and not resumed, idle connections of [Provider.Transport] are closed;
// connections in use go on.
//
// Keys that have a method Watch(func()) (stop func()), as a keystore.Store has,
// cause it by themselves: then Refresh is needed for nothing.
//
// An alias that fails keeps its identity in listeners and bare configurations;
// the errors of those are joined, each [ErrIncomplete]. One that nobody holds such a
// thing of any more is forgotten when it fails.
func (p *Provider) Refresh(ctx context.Context) error {
	if err := p.check(); err != nil {
		return err
	}
	s := p.state()
	s.live.changes.Add(1)
	s.live.asking.Lock()
	defer s.live.asking.Unlock()
	var failed []error
	for _, alias := range s.aliases() {
		id, err := p.identity(ctx, alias)
		switch {
		case err == nil:
			s.live.renew(id)
		case s.live.presents(alias):
			failed = append(failed, err)
		case ctx.Err() == nil: // dialled once, and gone
			s.ownChains.Delete(alias)
			p.forget(alias)
		}
	}
	return errors.Join(failed...)
}

// aliases returns those that have been used, sorted.
func (s *shared) aliases() []string {
	used := s.live.aliases()
	s.ownChains.Range(func(alias, _ any) bool {
		used = append(used, alias.(string))
		return true
	})
	slices.Sort(used)
	return slices.Compact(used)
}

// forget ends what outlives a handshake of alias.
func (p *Provider) forget(alias string) {
	p.state().sessions.dropAlias(alias)
	p.state().transports.closeIdle()
}

// switched is called when alias has another certificate than before.
func (p *Provider) switched(alias string, to *ownChain) {
	p.forget(alias)
	p.logger().Info("certificate switched", slog.String("alias", alias),
		slog.String("serial", to.leaf.SerialNumber.Text(16)), slog.Time("until", to.leaf.NotAfter.UTC()))
}

// watchKeys has Keys tell p of changes for as long as p is in use: what they hold
// on to must not keep it in memory.
func (p *Provider) watchKeys() {
	keys, ok := p.Keys.(keysWatcher)
	if !ok {
		return
	}
	me := weak.Make(p)
	stop := keys.Watch(func() {
		if p := me.Value(); p != nil {
			p.keysChanged()
		}
	})
	runtime.AddCleanup(p, func(stop func()) { stop() }, stop)
}

// keysChanged refreshes on behalf of nobody who could be told of an error.
func (p *Provider) keysChanged() {
	ctx, cancel := context.WithTimeout(context.Background(), p.handshakeTimeout())
	defer cancel()
	if err := p.Refresh(ctx); err != nil {
		p.logger().Warn("certificate not switched", slog.Any("error", err))
	}
}
