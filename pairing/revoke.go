// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Revoke takes a POS from the list with all its certificates, expired ones too, and
// closes its connections, also those that a handler has taken over. When it returns nil the
// POS cannot connect any more, nor resume a session. [ErrUnknown] means that it is
// not listed. It needs the Registry alone, and reaches the token.
func (t *Terminal) Revoke(ctx context.Context, posID string) error {
	if t.Registry == nil {
		return errNoRegistry
	}
	s := t.state()
	defer s.changing.begin(posID)()
	certs := slices.Concat(t.of(posID), t.expired(posID))
	if len(certs) == 0 {
		return ErrUnknown
	}
	var failed error
	for _, c := range certs {
		failed = errors.Join(failed, t.unlist(ctx, c))
	}
	n := s.live.closeIf(func(p POS) bool { return p.ID == posID })
	if failed != nil {
		t.log().Error("POS not revoked", slog.String("posId", posID), slog.Any("error", failed))
		return failed
	}
	t.log().Info("POS revoked", slog.String("posId", posID), slog.Int("connections", n))
	s.desk.report(Event{Kind: EventRevoked, POSID: posID})
	return nil
}

// Recheck closes the connections of POS of which no certificate is listed. Call it after
// somebody else has changed what is behind the Registry. It does not reach the
// token.
func (t *Terminal) Recheck() {
	if t.check() != nil {
		return
	}
	n := t.state().live.closeIf(func(p POS) bool {
		return len(t.of(p.ID)) == 0
	})
	if n > 0 {
		t.log().Info("connections of unlisted POS closed", slog.Int("connections", n))
	}
}

// used notes that a POS has proved to hold a certificate. Older ones of the same
// POS, left from a renewal, have done their duty; what was connected with them
// may come to its end.
func (t *Terminal) used(ctx context.Context, p POS) {
	s := t.state()
	f := fingerprintOf(p.Certificate)
	if s.doubts.settle(f) {
		t.log().Info("delivery of certificate confirmed", slog.String("posId", p.ID))
		if err := s.journal.end(f); err != nil {
			t.log().Error("journal not written", slog.Any("error", err))
		}
	}
	if _, seen := s.retired.LoadOrStore(f, struct{}{}); seen {
		return
	}
	for _, c := range t.of(p.ID) {
		if c.NotBefore.Before(p.Certificate.NotBefore) {
			if !t.retire(ctx, c, "a newer one is in use") {
				s.retired.Delete(f) // the next request tries again
			}
		}
	}
}

// doubtPeriod is how long after a restart a POS has to show that it got the
// certificate that was being delivered.
const doubtPeriod = 10 * time.Minute

// doubts are certificates that are listed and may not have been delivered. The
// zero value has none. It is safe for concurrent use.
type doubts struct {
	mu   sync.Mutex
	open map[fingerprint]*time.Timer
}

// doubt gives the certificates that the journal was left with their time.
func (t *Terminal) doubt(s *terminalState) {
	for _, f := range s.journal.left() {
		cert := t.listed(f)
		if cert == nil {
			_ = s.journal.end(f) // was never listed; if it cannot be written, next time
			continue
		}
		s.doubts.add(f, func() { t.giveUp(cert) })
	}
}

func (t *Terminal) listed(f fingerprint) *x509.Certificate {
	clients := t.Registry.Clients()
	i := slices.IndexFunc(clients, func(c *x509.Certificate) bool { return fingerprintOf(c) == f })
	if i < 0 {
		return nil
	}
	return clients[i]
}

// giveUp unlists a certificate that nobody has shown.
func (t *Terminal) giveUp(c *x509.Certificate) {
	if t.state().doubts.settle(fingerprintOf(c)) {
		t.retire(context.Background(), c, "it was being delivered when the terminal stopped")
	}
}

func (d *doubts) add(f fingerprint, after func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = make(map[fingerprint]*time.Timer)
	}
	d.open[f] = time.AfterFunc(doubtPeriod, after)
}

// settle reports whether f was in doubt, and ends that.
func (d *doubts) settle(f fingerprint) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	timer, ok := d.open[f]
	if ok {
		timer.Stop()
		delete(d.open, f)
	}
	return ok
}

func (d *doubts) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, timer := range d.open {
		timer.Stop()
	}
	d.open = nil
}
