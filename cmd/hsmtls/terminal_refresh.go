// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/hsmtls/hsmtls-go/pairing"
)

// Refresh has the terminal present the certificate of its own as it is by now, and says
// of every certificate that it expires soon.
func (o *operator) Refresh(ctx context.Context) error {
	err := o.terminal.Refresh(ctx)
	if own, err := o.keys.Identity(ctx, o.terminal.Alias); err == nil && !own.Chain[0].Equal(o.presented) {
		o.presented = own.Chain[0]
		o.log().Info("another certificate is presented", slog.String("subject", o.presented.Subject.String()), slog.Time("notAfter", o.presented.NotAfter))
	}
	o.warnOfExpiry()
	return err
}

// warnOfExpiry says once of each certificate that it expires soon.
func (o *operator) warnOfExpiry() {
	now := time.Now()
	if o.soon(o.presented, now) {
		o.app.warn("certificate of the terminal expires on %s", date(o.presented.NotAfter))
	}
	for _, p := range o.terminal.List() {
		if o.soon(p.Certificate, now) {
			o.app.warn("certificate of POS %s expires on %s", cell(p.ID), date(p.Expires()))
		}
	}
}

func (o *operator) soon(c *x509.Certificate, now time.Time) bool {
	if o.warned[string(c.Raw)] || !expiresSoon(c, now) {
		return false
	}
	o.warned[string(c.Raw)] = true
	return true
}

func expiresSoon(c *x509.Certificate, now time.Time) bool {
	return now.Add(pairing.RenewalTime).After(c.NotAfter)
}
