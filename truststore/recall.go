// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"sync"
	"time"
)

// maxRecalled bounds the paths that a snapshot remembers.
const maxRecalled = 16384

// recall remembers the paths that were found good, so that a peer that comes back
// costs no signature check: most peers do, and those that resume a session come for
// little else. It belongs to one snapshot, and goes with it whenever the anchors, the
// entries or the issuers change. What changes by itself, the time and what is revoked,
// is not remembered. Refusals are not either. It is safe for concurrent use.
type recall struct {
	mu    sync.Mutex
	paths map[[sha256.Size]byte]goodPath
}

// A goodPath is a path but for the certificate of the peer.
type goodPath struct {
	above []*x509.Certificate
	upTo  int // how many certificates of the whole path there are with the entry
}

// key stands for everything that the answer depends on besides the snapshot and what
// is not remembered.
func (q question) key(chain []*x509.Certificate) [sha256.Size]byte {
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	part([]byte(q.name))
	part([]byte{byte(q.usage)})
	for _, c := range chain {
		part(c.Raw)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// of returns the path of a chain whose key is known, if its dates still hold.
func (r *recall) of(key [sha256.Size]byte, leaf *x509.Certificate, at time.Time) (path []*x509.Certificate, upTo int, ok bool) {
	r.mu.Lock()
	good, ok := r.paths[key]
	r.mu.Unlock()
	if !ok {
		return nil, 0, false
	}
	path = append([]*x509.Certificate{leaf}, good.above...)
	for _, c := range path {
		if at.Before(c.NotBefore) || at.After(c.NotAfter) {
			return nil, 0, false
		}
	}
	return path, good.upTo, true
}

// keep remembers a path. Where there are too many, any other is forgotten.
func (r *recall) keep(key [sha256.Size]byte, path []*x509.Certificate, upTo int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.paths) >= maxRecalled {
		for other := range r.paths {
			delete(r.paths, other)
			break
		}
	}
	r.paths[key] = goodPath{path[1:], upTo}
}
