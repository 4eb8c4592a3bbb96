// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hsmtls/hsmtls-go/hsmtls"
)

// errNotListed refuses a handshake with a certificate that is not, or no longer,
// that of a paired POS.
var errNotListed = errors.New("pairing: certificate is not that of a paired POS")

// posTrust accepts the certificates on the list, and of these only what the
// terminal's own trust accepts too.
type posTrust struct {
	base     hsmtls.Trust
	registry Registry
	changes  atomic.Uint64
}

func (p *posTrust) Verify(chain []*x509.Certificate, name string, usage x509.ExtKeyUsage, at time.Time) ([]*x509.Certificate, error) {
	if len(chain) == 0 || usage != x509.ExtKeyUsageClientAuth {
		return nil, errNotListed
	}
	for _, c := range p.registry.Clients() {
		if c.Equal(chain[0]) {
			return p.base.Verify(chain, name, usage, at)
		}
	}
	return nil, errNotListed
}

// Generation ends the sessions of everybody when the list changes. Both terms
// only grow.
func (p *posTrust) Generation() uint64 {
	n := p.changes.Load()
	if g, ok := p.base.(interface{ Generation() uint64 }); ok {
		n += g.Generation()
	}
	return n
}

// LogExpiring passes on what the terminal's own trust has to warn of, if it does.
func (p *posTrust) LogExpiring(log *slog.Logger, within time.Duration) {
	if base, ok := p.base.(interface {
		LogExpiring(log *slog.Logger, within time.Duration)
	}); ok {
		base.LogExpiring(log, within)
	}
}

// rootKeys adds the root to the chain the terminal presents, so that a POS that
// knows no more of it than a fingerprint can tell.
type rootKeys struct {
	hsmtls.Keys
	root *x509.Certificate
}

func (k rootKeys) Certificate(ctx context.Context, alias string) (*tls.Certificate, error) {
	cert, err := k.Keys.Certificate(ctx, alias)
	if err != nil || k.root == nil || len(cert.Certificate) == 0 {
		return cert, err
	}
	last, err := x509.ParseCertificate(cert.Certificate[len(cert.Certificate)-1])
	if err != nil {
		return nil, err
	}
	if last.Equal(k.root) {
		return cert, nil
	}
	if err := last.CheckSignatureFrom(k.root); err != nil {
		return nil, errors.Join(errRootMismatch, err)
	}
	longer := *cert
	longer.Certificate = append(append([][]byte(nil), cert.Certificate...), k.root.Raw)
	return &longer, nil
}

// Watch passes on what the keys tell of their changes, if they tell.
func (k rootKeys) Watch(changed func()) (stop func()) {
	if w, ok := k.Keys.(interface {
		Watch(changed func()) (stop func())
	}); ok {
		return w.Watch(changed)
	}
	return func() {}
}

var errRootMismatch = errors.New("pairing: Root did not issue the terminal's certificate")

// served is the Provider behind [Terminal.Serve]: the caller's, but for whom it
// trusts.
func served(p *hsmtls.Provider, trust hsmtls.Trust, root *x509.Certificate) *hsmtls.Provider {
	return &hsmtls.Provider{
		Keys: rootKeys{p.Keys, root}, Trust: trust,
		Policy: p.Policy, VerifyPeer: p.VerifyPeer,
		SessionLifetime: p.SessionLifetime, HandshakeTimeout: p.HandshakeTimeout,
		SignTimeout: p.SignTimeout, MaxConnAge: p.MaxConnAge, Sessions: p.Sessions, ExpiryWarning: p.ExpiryWarning,
		Admission: p.Admission, Now: p.Now, Logger: p.Logger, Observer: p.Observer,
	}
}
