// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

const (
	ticketKeySize = 32 // AES-256, no weaker than any suite (RFC 9325 section 3.4)
	ticketIDSize  = 8
	ticketHeader  = 8 + len(generation{}) // birth in Unix nanoseconds, generation
)

// ticketKeys seals session tickets (RFC 5077 section 4) with AES-256-GCM. A key
// seals for one session lifetime and opens for one more; the next use of a
// ticket then forgets it. It is safe for concurrent use.
type ticketKeys struct {
	period time.Duration
	now    func() time.Time

	mu            sync.Mutex
	current, last *ticketKey
}

type ticketKey struct {
	id   [ticketIDSize]byte
	aead cipher.AEAD
	made time.Time
}

func newTicketKeys(period time.Duration, now func() time.Time) *ticketKeys {
	return &ticketKeys{period: period, now: now}
}

func newTicketKey(now time.Time) (*ticketKey, error) {
	var secret [ticketKeySize]byte
	k := &ticketKey{made: now}
	rand.Read(secret[:])
	rand.Read(k.id[:])
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		return nil, err
	}
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	return k, err
}

// seal returns a ticket that holds born, gen and state.
func (t *ticketKeys) seal(born time.Time, gen generation, state []byte) ([]byte, error) {
	k, err := t.sealing()
	if err != nil {
		return nil, err
	}
	plain := make([]byte, 0, ticketHeader+len(state))
	plain = binary.BigEndian.AppendUint64(plain, uint64(born.UnixNano()))
	plain = append(plain, gen[:]...)
	plain = append(plain, state...)
	return k.aead.Seal(append([]byte(nil), k.id[:]...), nil, plain, k.id[:]), nil
}

// open returns what seal put into ticket; ok is false for anything else.
func (t *ticketKeys) open(ticket []byte) (born time.Time, gen generation, state []byte, ok bool) {
	k := t.opening(ticket)
	if k == nil {
		return born, gen, nil, false
	}
	plain, err := k.aead.Open(nil, nil, ticket[ticketIDSize:], k.id[:])
	if err != nil || len(plain) < ticketHeader {
		return born, gen, nil, false
	}
	born = time.Unix(0, int64(binary.BigEndian.Uint64(plain)))
	copy(gen[:], plain[8:])
	return born, gen, plain[ticketHeader:], true
}

// sealing returns the current key, a new one if its period is over.
func (t *ticketKeys) sealing() (*ticketKey, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.forget(now)
	if t.current != nil && young(t.current.made, now, t.period) {
		return t.current, nil
	}
	k, err := newTicketKey(now)
	if err != nil {
		return nil, err
	}
	t.current, t.last = k, t.current
	return k, nil
}

// opening returns the key that sealed ticket, nil if it is unknown by now.
func (t *ticketKeys) opening(ticket []byte) *ticketKey {
	if len(ticket) < ticketIDSize {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(t.now())
	for _, k := range []*ticketKey{t.current, t.last} {
		if k != nil && bytes.Equal(k.id[:], ticket[:ticketIDSize]) {
			return k
		}
	}
	return nil
}

// forget drops the keys that are past use. It needs t.mu.
func (t *ticketKeys) forget(now time.Time) {
	for _, k := range []**ticketKey{&t.current, &t.last} {
		if *k != nil && !young((*k).made, now, 2*t.period) {
			*k = nil
		}
	}
}
