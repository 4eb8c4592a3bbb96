// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

var errNoKeys = errors.New("no keys")

// lastGood is Keys that go on with the last good certificate of an alias when it
// cannot be had any more, as a listener does by itself. It is safe for concurrent
// use.
type lastGood struct {
	keys hsmtls.Keys
	log  *slog.Logger

	mu   sync.Mutex
	good map[string]*tls.Certificate
	bad  map[string]bool // has been said
}

// Certificate asks, and falls back on the last answer.
func (k *lastGood) Certificate(ctx context.Context, alias string) (*tls.Certificate, error) {
	if k.keys == nil {
		return nil, errNoKeys
	}
	cert, err := k.keys.Certificate(ctx, alias)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.keep(alias, cert)
		return cert, nil
	}
	last := k.good[alias]
	if last == nil || ctx.Err() != nil {
		return nil, err
	}
	if !k.bad[alias] {
		k.bad[alias] = true
		k.log.Warn("certificate cannot be had any more, the last one is presented", slog.String("alias", alias), slog.Any("error", err))
	}
	return last, nil
}

func (k *lastGood) keep(alias string, cert *tls.Certificate) {
	if k.good == nil {
		k.good, k.bad = make(map[string]*tls.Certificate), make(map[string]bool)
	}
	k.good[alias] = cert
	delete(k.bad, alias)
}

// Watch passes on what the keys underneath have to tell.
func (k *lastGood) Watch(changed func()) (stop func()) {
	if keys, ok := k.keys.(interface{ Watch(func()) func() }); ok {
		return keys.Watch(changed)
	}
	return func() {}
}
