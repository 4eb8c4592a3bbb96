// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package keystore

import (
	"maps"
	"slices"
	"sync"
)

// Watch has f called after every write by this Store and after every Refresh,
// when another identity may be behind an alias than before. f is called by the
// goroutine that wrote, which waits for it and still keeps other writers out: f
// may ask for identities, must not write, and should be quick. stop ends it; a
// call that is under way goes on.
//
// An hsmtls.Provider watches the Store it is given, so that a certificate that has
// been replaced is presented at once.
func (s *Store) Watch(f func()) (stop func()) { return s.cache.watchers.add(f) }

// watchers is who has to be told. The zero value is nobody.
type watchers struct {
	mu   sync.Mutex
	last int
	all  map[int]func()
}

func (w *watchers) add(f func()) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[int]func())
	}
	w.last++
	n := w.last
	w.all[n] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, n)
	}
}

// tell calls them one after the other, in the order in which they came.
func (w *watchers) tell() {
	w.mu.Lock()
	all := maps.Clone(w.all)
	w.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(all)) {
		all[n]()
	}
}
