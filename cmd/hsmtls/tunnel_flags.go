// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
	"github.com/hsmtls/hsmtls-go/truststore"
	"github.com/hsmtls/hsmtls-go/tunnel"
)

// A tunnelRun is the flags of tunnel and what it works with.
type tunnelRun struct {
	app        *app
	operations operations
	cfg        tunnel.Config

	spki, posIDs               []string
	handshakeTimeout, lifetime time.Duration
	idle, drain                time.Duration

	keys  *keystore.Store
	trust *truststore.Store
}

// flags registers what both modes have.
func (t *tunnelRun) flags(c *cobra.Command, peers string) {
	f, cfg := c.Flags(), &t.cfg
	f.StringVar(&cfg.Listen, "listen", "", "`ADDR` to listen on")
	f.StringVar(&cfg.Target, "target", "", "`ADDR` to forward to")
	f.StringVar(&cfg.Alias, "alias", "", "`ALIAS` of the certificate to present")
	f.BoolVar(&cfg.UnsafePlain, "unsafe-plain", false, "let the side without TLS be on the network")
	f.StringArrayVar(&cfg.Rules.CommonNames, "allow-cn", nil, "accept "+peers+" with this common `NAME`")
	f.StringArrayVar(&cfg.Rules.Units, "allow-ou", nil, "accept "+peers+" of this organizational `UNIT`")
	f.StringArrayVar(&cfg.Rules.Names, "allow-san", nil, "accept "+peers+" with this DNS `NAME` or URI")
	f.StringArrayVar(&t.spki, "allow-spki", nil, "accept "+peers+" whose public key info has this SHA-256, in `HEX`")
	f.IntVar(&cfg.MaxConns, "max-conns", 1024, "refuse more than `N` connections at a time")
	f.DurationVar(&cfg.ConnectTimeout, "connect-timeout", 10*time.Second, "`TIME` to reach the target")
	f.DurationVar(&t.handshakeTimeout, "handshake-timeout", 15*time.Second, "`TIME` for a TLS handshake")
	f.DurationVar(&t.idle, "idle-timeout", time.Hour, "end connections on which nothing moves for this `TIME`; 0 for never")
	f.DurationVar(&t.lifetime, "max-conn-lifetime", 24*time.Hour, "end connections after this `TIME`")
	f.DurationVar(&t.drain, "drain-timeout", 30*time.Second, "`TIME` that connections may take to finish; 0 for none")
	t.operations.flags(c)
	mustHave(c, "listen", "target", "alias")
}

// settle turns flags into the configuration. Where a flag says 0, it means none; where
// the configuration does, its default.
func (t *tunnelRun) settle() error {
	for flag, d := range map[string]time.Duration{"idle-timeout": t.idle, "drain-timeout": t.drain} {
		if d < 0 {
			return usagef("invalid argument %v for --%s: it is a time, or 0", d, flag)
		}
	}
	for flag, d := range map[string]time.Duration{
		"connect-timeout": t.cfg.ConnectTimeout, "handshake-timeout": t.handshakeTimeout, "max-conn-lifetime": t.lifetime,
	} {
		if d <= 0 {
			return usagef("invalid argument %v for --%s: it is a time", d, flag)
		}
	}
	if t.cfg.MaxConns < 1 || t.cfg.Mode == tunnel.Server && t.cfg.MaxPending < 1 {
		return usagef("invalid argument for --max-conns or --max-pending: it is at least 1")
	}
	t.cfg.IdleTimeout, t.cfg.DrainTimeout = noneForZero(t.idle), noneForZero(t.drain)
	return t.rules()
}

func noneForZero(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// rules adds those that are not names.
func (t *tunnelRun) rules() error {
	for _, text := range t.spki {
		sum, err := hex.DecodeString(text)
		if err != nil || len(sum) != sha256.Size {
			return usagef("invalid argument %q for --allow-spki: it is a SHA-256 of 64 hexadecimal digits", text)
		}
		t.cfg.Rules.SPKI = append(t.cfg.Rules.SPKI, [sha256.Size]byte(sum))
	}
	for _, id := range t.posIDs {
		if err := pairing.CheckPOSID(id); err != nil {
			return usagef("invalid argument %q for --allow-pos-id: %s", id, sentence(err))
		}
	}
	if len(t.posIDs) > 0 {
		t.cfg.Rules.Match = t.isPOS
	}
	return nil
}

// isPOS reports whether the certificate is that of a POS with one of the ids, and still
// on the list of those that are paired. What its names say alone is no proof: another
// CA could have written it.
func (t *tunnelRun) isPOS(leaf *x509.Certificate) bool {
	id, ok := pairing.POSID(leaf)
	return ok && slices.Contains(t.posIDs, id) && slices.ContainsFunc((&truststore.Clients{Store: t.trust}).Clients(), leaf.Equal)
}
