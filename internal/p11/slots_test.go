// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11_test

import (
	"crypto/rand"
	"errors"
	"sync"
	"testing"

	"github.com/hsmtls/hsmtls-go/internal/hsmtest"
	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// TestSlotsWhileTokensAreMade opens tokens, looks for one that is not there and
// makes keys, while new tokens take the blank one, so that SoftHSM adds the next.
// It is in a process of its own because what it looks for ends the process.
func TestSlotsWhileTokensAreMade(t *testing.T) {
	if !hsmtest.Child(t) {
		return
	}
	cfg := config(t)
	token := open(t, cfg)
	absent := cfg
	absent.Select = p11.Selector{Label: "no such token"}

	made := make(chan struct{})
	var all sync.WaitGroup
	meanwhile := func(f func()) {
		all.Go(func() {
			for {
				select {
				case <-made:
					return
				default:
					f()
				}
			}
		})
	}
	meanwhile(func() {
		id := []byte(rand.Text())
		if _, err := token.GenerateKey(t.Context(), p11.KeyTemplate{Label: "key", ID: id, Type: p11.P256}); err != nil {
			t.Error(err)
		}
	})
	for range 4 {
		meanwhile(func() {
			if _, err := p11.Open(t.Context(), absent); !errors.As(err, new(*p11.TokenError)) {
				t.Error(err)
			}
		})
	}
	for range 40 {
		open(t, config(t))
	}
	close(made)
	all.Wait()
}
