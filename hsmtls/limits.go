// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package hsmtls

import (
	"fmt"
	"time"
)

// Defaults and bounds of the durations of a [Provider].
const (
	defaultSessionLifetime  = 10 * time.Minute
	defaultSessions         = 4096
	maxSessionLifetime      = 24 * time.Hour // RFC 5246 appendix F.1.4
	defaultHandshakeTimeout = 15 * time.Second
	defaultSignTimeout      = 10 * time.Second
	defaultMaxConnAge       = 24 * time.Hour
)

// checkLimits reports a duration or count outside its bounds.
func (p *Provider) checkLimits() error {
	switch {
	case p.SessionLifetime > maxSessionLifetime:
		return fmt.Errorf("%w: session lifetime %v is above %v", ErrOutOfRange, p.SessionLifetime, maxSessionLifetime)
	case p.Sessions < 0:
		return fmt.Errorf("%w: %d sessions", ErrOutOfRange, p.Sessions)
	case p.HandshakeTimeout < 0:
		return fmt.Errorf("%w: handshake timeout %v", ErrOutOfRange, p.HandshakeTimeout)
	case p.SignTimeout < 0:
		return fmt.Errorf("%w: sign timeout %v", ErrOutOfRange, p.SignTimeout)
	case p.MaxConnAge < 0:
		return fmt.Errorf("%w: connection age %v", ErrOutOfRange, p.MaxConnAge)
	}
	return p.Admission.check()
}

// resumes reports whether sessions may be resumed at all.
func (p *Provider) resumes() bool { return p.SessionLifetime >= 0 }

func (p *Provider) sessionLifetime() time.Duration {
	return orDefault(p.SessionLifetime, defaultSessionLifetime)
}

func (p *Provider) maxSessions() int {
	if p.Sessions <= 0 {
		return defaultSessions
	}
	return p.Sessions
}

func (p *Provider) handshakeTimeout() time.Duration {
	return orDefault(p.HandshakeTimeout, defaultHandshakeTimeout)
}

func (p *Provider) signTimeout() time.Duration {
	return orDefault(p.SignTimeout, defaultSignTimeout)
}

func (p *Provider) maxConnAge() time.Duration {
	return orDefault(p.MaxConnAge, defaultMaxConnAge)
}

func orDefault(d, zero time.Duration) time.Duration {
	if d == 0 {
		return zero
	}
	return d
}
