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
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"
)

// A generation is everything that is lost together when a token loses its
// sessions: the login, the sessions and the object handles. Handles are never
// used with another generation than the one that found them, because a token
// that was opened again may give the same number to another key.
type generation struct {
	number uint64
	core   *core
	keys   *crypto11.Context // generates and signs
	plain  *sessions         // everything else
	slots  chan struct{}     // one for each signature that may be in the module

	mu      sync.Mutex
	signers map[string]crypto11.Signer     // by CKA_ID
	handles map[string]pkcs11.ObjectHandle // of private keys, by CKA_ID
}

var generations atomic.Uint64

// build logs in and opens the sessions.
func (c *core) build(ctx context.Context, pin []byte) (_ *generation, err error) {
	g := &generation{
		number:  generations.Add(1),
		core:    c,
		plain:   newSessions(c),
		slots:   make(chan struct{}, c.sessions),
		signers: map[string]crypto11.Signer{},
		handles: map[string]pkcs11.ObjectHandle{},
	}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	if err := g.plain.login(ctx, pin); err != nil {
		return nil, err
	}
	// The login counts for the whole process, so crypto11 never sees the PIN.
	slot := int(c.info.Slot)
	g.keys, err = crypto11.Configure(&crypto11.Config{
		Path:              c.module.path,
		SlotNumber:        &slot,
		LoginNotSupported: true,
		MaxSessions:       c.sessions + 1,
		PoolWaitTimeout:   c.cfg.SessionWait,
	})
	if err != nil {
		return nil, wrap("C_OpenSession", err)
	}
	g.warm()
	return g, nil
}

// warm makes crypto11 open its sessions now: its pool hands out the empty
// places first, so the first signatures would each pay for a session.
func (g *generation) warm() {
	random, err := g.keys.NewRandomReader()
	if err != nil || !g.core.info.Flags.HasRandom {
		return
	}
	var b [1]byte
	for range g.core.sessions {
		if _, err := random.Read(b[:]); err != nil {
			return // the session is then opened when it is needed
		}
	}
}

// close closes the sessions; crypto11 waits for the signatures in flight.
func (g *generation) close() {
	if g == nil {
		return
	}
	if g.keys != nil {
		_ = g.keys.Close()
	}
	g.plain.close()
}

// sign makes one signature. It is the only place where the token signs.
func (g *generation) sign(ctx context.Context, k *Signer, r signRequest) ([]byte, error) {
	if err := g.enter(ctx); err != nil {
		return nil, err
	}
	defer g.leave()
	if r.message != nil {
		return g.signMessage(ctx, k, r)
	}
	s, err := g.signer(k.id, k.public)
	if err != nil {
		return nil, err
	}
	sig, err := s.Sign(nil, r.digest, r.opts())
	return sig, wrap("C_Sign", err)
}

// enter waits for a place among the signatures in flight.
func (g *generation) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(g.core.cfg.SessionWait)
	defer wait.Stop()
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return ErrBusy
	}
}

func (g *generation) leave() { <-g.slots }

// signer finds the key with that CKA_ID once, and proves that its public half
// is the expected one.
func (g *generation) signer(id []byte, public crypto.PublicKey) (crypto11.Signer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s, ok := g.signers[string(id)]; ok {
		return s, samePublic(s.Public(), public)
	}
	if len(id) == 0 {
		return nil, fmt.Errorf("%w: empty CKA_ID", ErrKeyNotFound)
	}
	found, err := g.keys.FindKeyPairs(id, nil)
	switch {
	case err != nil:
		return nil, wrap("C_FindObjects", err)
	case len(found) == 0:
		return nil, ErrKeyNotFound
	case len(found) > 1:
		return nil, ErrKeyAmbiguous
	}
	if err := samePublic(found[0].Public(), public); err != nil {
		return nil, err
	}
	g.signers[string(id)] = found[0]
	return found[0], nil
}

func samePublic(have, want crypto.PublicKey) error {
	if h, ok := have.(interface{ Equal(crypto.PublicKey) bool }); ok && h.Equal(want) {
		return nil
	}
	return ErrKeyMismatch
}

// signMessage has the token hash and sign, which crypto11 cannot.
func (g *generation) signMessage(ctx context.Context, k *Signer, r signRequest) (sig []byte, err error) {
	err = g.plain.with(ctx, func(raw *pkcs11.Ctx, s pkcs11.SessionHandle) error {
		key, err := g.privateKey(raw, s, k.id)
		if err != nil {
			return err
		}
		if err := raw.SignInit(s, []*pkcs11.Mechanism{r.ckMechanism(k.public)}, key); err != nil {
			return wrap("C_SignInit", err)
		}
		sig, err = raw.Sign(s, r.message)
		return wrap("C_Sign", err)
	})
	return sig, err
}

// privateKey finds the handle of the private key with that CKA_ID, once.
func (g *generation) privateKey(raw *pkcs11.Ctx, s pkcs11.SessionHandle, id []byte) (pkcs11.ObjectHandle, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h, ok := g.handles[string(id)]; ok {
		return h, nil
	}
	found, err := find(raw, s, pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), pkcs11.NewAttribute(pkcs11.CKA_ID, id))
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		return 0, ErrKeyNotFound
	case len(found) > 1:
		return 0, ErrKeyAmbiguous
	}
	g.handles[string(id)] = found[0]
	return found[0], nil
}

// forget drops what is cached about keys, after one was made or destroyed.
func (g *generation) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.signers)
	clear(g.handles)
}

// ckMechanism is the hashing mechanism with its parameters.
func (r signRequest) ckMechanism(public crypto.PublicKey) *pkcs11.Mechanism {
	mech := r.hashingMechanism(public)
	if !r.pss {
		return pkcs11.NewMechanism(uint(mech), nil)
	}
	hash, mgf := pssParameters(r.hash)
	return pkcs11.NewMechanism(uint(mech), pkcs11.NewPSSParams(hash, mgf, uint(r.hash.Size())))
}

func pssParameters(h crypto.Hash) (hash, mgf uint) {
	switch h {
	case crypto.SHA384:
		return pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384
	case crypto.SHA512:
		return pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512
	}
	return pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256
}
