// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"crypto"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"
)

// A generation is everything that is lost together when a token loses its
// sessions: the login, the sessions and the object handles. Handles are never
// used with another generation than the one that found them, because a token
// that was opened again may give the same number to another key.
type generation struct {
	number uint64
	pool   *pool

	mu   sync.Mutex
	keys map[string]*privateKey // by CKA_ID
}

// A privateKey is a private key as one generation knows it.
type privateKey struct {
	handle             pkcs11.ObjectHandle
	alwaysAuthenticate bool
	proved             atomic.Bool // a signature of it was verified
}

var generations atomic.Uint64

// build logs in and makes a generation.
func (c *core) build(ctx context.Context, slot uint, pin []byte) (*generation, error) {
	g := &generation{number: generations.Add(1), keys: map[string]*privateKey{}}
	g.pool = newPool(c, g, slot, c.module.running.Load())
	err := g.pool.do(ctx, func(v session) error {
		if pin == nil {
			return nil
		}
		err := wrap("C_Login", v.raw.Login(v.handle, pkcs11.CKU_USER, string(pin)))
		if codeOf(err) == ckrUserAlreadyLoggedIn && c.proven {
			return nil // by an earlier generation that has a hung session open
		}
		return err
	})
	if err != nil {
		g.pool.close(drainTime)
		return nil, err
	}
	g.pool.loggedIn.Store(pin != nil)
	return g, nil
}

// close closes the sessions and logs out. The logout is needed because a session
// with a hung call in it stays open, and the login with it, and comes last because
// whoever is still at work would find a token without private objects. A token that is
// closed meanwhile is logged out no less. It reports whether no call is left inside the
// module.
func (g *generation) close() bool {
	ended := g.pool.close(drainTime)
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	last := newPool(g.pool.core, g, g.pool.slot, g.pool.instance)
	_ = last.do(ctx, func(v session) error { return wrap("C_Logout", v.raw.Logout(v.handle)) })
	return last.close(drainTime) && ended
}

// sign makes one signature. It is the only place where the token signs.
func (g *generation) sign(v session, s *signature) ([]byte, error) {
	public, r := s.signer.public, &s.request
	key, err := g.key(v, s.signer.id)
	if err != nil {
		return nil, err
	}
	mechanism, input := r.forToken(public, &s.room)
	if key.alwaysAuthenticate {
		if err := v.begin(mechanism, key.handle); err != nil {
			return nil, err
		}
	}
	sig, waited, err := v.raw.sign(v.handle, order{
		Mechanism: mechanism, Key: key.handle, Begun: key.alwaysAuthenticate, Input: input, Size: size(public),
		limit: g.pool.core.cfg.Timeout,
	})
	if err != nil {
		return nil, err
	}
	g.pool.core.signing.observe(waited)
	if sig, err = r.fromToken(public, sig); err != nil {
		return nil, err
	}
	return sig, key.prove(public, r, sig)
}

// prove verifies the first signature of a key in this generation: after an
// outage the key must be the one it was. What does not verify is not given out.
func (k *privateKey) prove(public crypto.PublicKey, r *signRequest, sig []byte) error {
	if k.proved.Load() {
		return nil
	}
	if err := r.verify(public, sig); err != nil {
		return fmt.Errorf("%w: its signature does not verify", ErrKeyMismatch)
	}
	k.proved.Store(true)
	return nil
}

// key finds the private key with that CKA_ID, once.
func (g *generation) key(v session, id []byte) (*privateKey, error) {
	g.mu.Lock()
	k, ok := g.keys[string(id)]
	g.mu.Unlock()
	if ok {
		return k, nil
	}
	if len(id) == 0 {
		return nil, fmt.Errorf("%w: empty CKA_ID", ErrKeyNotFound)
	}
	found, err := v.find(pkcs11.CKO_PRIVATE_KEY, Filter{ID: id})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, ErrKeyNotFound
	case len(found) > 1:
		return nil, ErrKeyAmbiguous
	}
	a, err := v.attributes(found[0], pkcs11.CKA_ALWAYS_AUTHENTICATE)
	if err != nil {
		return nil, err
	}
	return g.keep(id, found[0], a.bool(pkcs11.CKA_ALWAYS_AUTHENTICATE)), nil
}

// keep remembers the only private key with that CKA_ID.
func (g *generation) keep(id []byte, handle pkcs11.ObjectHandle, alwaysAuthenticate bool) *privateKey {
	g.mu.Lock()
	defer g.mu.Unlock()
	if other, ok := g.keys[string(id)]; ok {
		return other
	}
	k := &privateKey{handle: handle, alwaysAuthenticate: alwaysAuthenticate}
	g.keys[string(id)] = k
	return k
}

// forget drops what is cached about keys, after one was made or destroyed.
func (g *generation) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.keys)
}
