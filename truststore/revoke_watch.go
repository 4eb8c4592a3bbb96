// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import "sync"

// watchers are those who want to know of changes. The zero value has none.
type watchers struct {
	mu   sync.Mutex
	next int
	all  map[int]func()
}

// Watch has f called after each change of [Store.Generation], until stop is
// called; calls of f that are under way then may still come to their end. f is
// called while the store is being changed: it must return soon, and must not call
// what changes the store. Reading it is fine. hsmtls.Provider uses it to close the
// connections of peers that are not trusted any more.
func (s *Store) Watch(f func()) (stop func()) {
	w := &s.watching
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[int]func())
	}
	id := w.next
	w.next++
	w.all[id] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, id)
	}
}

func (w *watchers) tell() {
	w.mu.Lock()
	var all []func()
	for _, f := range w.all {
		all = append(all, f)
	}
	w.mu.Unlock()
	for _, f := range all {
		f()
	}
}
