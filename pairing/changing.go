// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// changing are the POS that are being paired or revoked. Whoever does that looks
// for their certificates after it has begun here, so a renewal that is not seen by
// it sees this. The zero value has none. It is safe for concurrent use.
type changing struct {
	mu  sync.Mutex
	ids map[string]int // how often at a time
}

func (c *changing) begin(posID string) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil {
		c.ids = make(map[string]int)
	}
	c.ids[posID]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ids[posID]--; c.ids[posID] == 0 {
			delete(c.ids, posID)
		}
	}
}

func (c *changing) pending(posID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ids[posID] > 0
}

// standing refuses a renewal, which is listed by now, if the POS has been revoked or
// paired again meanwhile. The order of the two questions matters: what is not pending
// any more has taken the present certificate from the list.
func (x *exchange) standing(posID string) error {
	if x.present == nil { // a pairing
		return nil
	}
	if x.s.changing.pending(posID) {
		return refuseChanging
	}
	if _, listed := x.find(x.present); !listed {
		return refuseChanging
	}
	return nil
}

var refuseChanging = &refusal{
	status: http.StatusServiceUnavailable, err: errChanging, retry: 10 * time.Second,
	message:   "The terminal cannot do this now.",
	developer: "this POS is being paired again or revoked; nothing was issued",
}

var errChanging = errors.New("pairing: POS is being paired again or revoked")
