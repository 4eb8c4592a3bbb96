// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"crypto/x509"
	"log/slog"
	"math"
	"time"
)

const (
	defaultExpiryWarning = 30 * 24 * time.Hour
	warnEvery            = 24 * time.Hour
)

// firstToEnd returns the certificate with which a chain ends to be valid.
func firstToEnd(chain []*x509.Certificate) *x509.Certificate {
	first := chain[0]
	for _, c := range chain[1:] {
		if c.NotAfter.Before(first.NotAfter) {
			first = c
		}
	}
	return first
}

// warnOfEnd logs that a chain of ours ends soon, once a day.
func (p *Provider) warnOfEnd(alias string, own *ownChain) {
	now := p.now()
	left := own.ends.NotAfter.Sub(now)
	if left > orDefault(p.ExpiryWarning, defaultExpiryWarning) || p.ExpiryWarning < 0 {
		return
	}
	last := own.warned.Load()
	if last != 0 && now.UnixNano()-last < int64(warnEvery) || !own.warned.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	p.logger().Warn("certificate ends soon", slog.String("alias", alias), slog.String("certificate", own.ends.Subject.String()),
		slog.Time("until", own.ends.NotAfter.UTC()), slog.Int("days_left", days(left)))
}

// An expiringTrust is Trust that says, once a day at most, what of it ends within a
// time.
type expiringTrust interface {
	LogExpiring(log *slog.Logger, within time.Duration)
}

// warnOfTrust has Trust log what of it ends soon.
func (p *Provider) warnOfTrust() {
	within := orDefault(p.ExpiryWarning, defaultExpiryWarning)
	if trust, ok := p.Trust.(expiringTrust); ok && within > 0 && p.Logger != nil {
		trust.LogExpiring(p.Logger, within)
	}
}

// days is how many whole days are left, negative after the end.
func days(left time.Duration) int { return int(math.Floor(left.Hours() / 24)) }
