// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package pairing

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// An exchange is one request for a certificate.
type exchange struct {
	*Terminal
	s       *terminalState
	source  string             // for the log
	deliver func([]byte) error // sends the reply
	present *x509.Certificate  // what a renewal follows; nil for a pairing
}

func (t *Terminal) exchange(source string, deliver func([]byte) error) *exchange {
	return &exchange{Terminal: t, s: t.state(), source: source, deliver: deliver}
}

// pair answers a pairing request. The code is claimed first, so that whatever
// follows happens once.
func (x *exchange) pair(ctx context.Context, r request) error {
	if x.s.err != nil {
		return x.s.err
	}
	c, err := x.s.desk.try(r.code)
	if err != nil {
		s := x.s.desk.snapshot()
		x.audit(slog.LevelWarn, "setup code refused", r.posID, slog.Any("reason", err),
			slog.String("phase", s.Phase.String()), slog.Int("wrong", s.Wrong), slog.Int("burnt", s.Burnt))
		return err
	}
	err = x.claimed(ctx, r)
	if err != nil {
		x.audit(slog.LevelError, "pairing failed", r.posID, slog.Any("error", err))
		x.s.desk.fail(c, r.posID, err)
		x.s.stock.prepare()
		return err
	}
	x.s.desk.succeed(c, r.posID)
	return nil
}

// claimed issues and delivers the certificate of a POS that has given the code,
// and retires those it had.
func (x *exchange) claimed(ctx context.Context, r request) error {
	key, pub := (*rsa.PrivateKey)(nil), r.pub
	if pub == nil {
		var err error
		if key, err = x.s.stock.take(ctx); err != nil {
			return err
		}
		pub = key.Public()
	}
	defer x.s.changing.begin(r.posID)()
	old := slices.Concat(x.of(r.posID), x.expired(r.posID))
	leaf, err := x.issue(ctx, r.posID, key, pub)
	if err != nil {
		return err
	}
	x.audit(slog.LevelInfo, "POS paired", r.posID, described(leaf)...)
	for _, c := range old {
		x.retire(ctx, c, "replaced by pairing again")
		x.s.live.closeIf(func(p POS) bool { return p.Certificate.Equal(c) })
	}
	return nil
}

// issue makes a certificate, lists it and delivers it; if it cannot be
// delivered, it is not listed either.
func (x *exchange) issue(ctx context.Context, posID string, key *rsa.PrivateKey, pub crypto.PublicKey) (*x509.Certificate, error) {
	chain, err := x.Issuer.issue(order{posID, pub, x.now(), x.newest(posID)})
	if err != nil {
		return nil, err
	}
	reply := encodeBundle(key, chain)
	defer clear(reply)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errDelivery, err) // the POS has hung up
	}
	ctx, cancel := lasting(ctx)
	defer cancel()
	leaf := chain[0]
	if err := x.list(ctx, posID, chain); err != nil {
		return nil, err
	}
	if err := x.deliver(reply); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errDelivery, err), x.unlist(ctx, leaf))
	}
	if err := x.s.journal.end(fingerprintOf(leaf)); err != nil {
		x.log().Error("journal not written", slog.Any("error", err)) // the POS will be in doubt after a restart
	}
	return leaf, nil
}

func (x *exchange) list(ctx context.Context, posID string, chain []*x509.Certificate) error {
	if err := x.s.journal.begin(fingerprintOf(chain[0])); err != nil {
		return err
	}
	err := x.Registry.Add(ctx, posID, chain)
	x.s.trust.changes.Add(1)
	if err == nil {
		err = x.standing(posID)
	}
	if err != nil {
		return errors.Join(err, x.unlist(ctx, chain[0]))
	}
	return nil
}

// newest is when the newest certificate of a POS begins to be valid.
func (t *Terminal) newest(posID string) (at time.Time) {
	for _, c := range t.of(posID) {
		at = latest(at, c.NotBefore)
	}
	return at
}

// unlist takes a certificate from the list, and from the journal if that
// succeeded.
func (t *Terminal) unlist(ctx context.Context, c *x509.Certificate) error {
	s := t.state()
	err := t.Registry.Remove(ctx, c)
	s.trust.changes.Add(1)
	if err != nil {
		return err
	}
	return s.journal.end(fingerprintOf(c))
}

// retire unlists a certificate that another took the place of, and reports whether it did.
func (t *Terminal) retire(ctx context.Context, c *x509.Certificate, why string) bool {
	ctx, cancel := lasting(ctx)
	defer cancel()
	id, _ := POSID(c)
	if err := t.unlist(ctx, c); err != nil {
		t.log().Error("certificate of POS not retired", slog.String("posId", id), slog.Any("error", err))
		return false
	}
	t.log().Info("certificate of POS retired", append([]any{slog.String("posId", id), slog.String("reason", why)}, described(c)...)...)
	return true
}

func (x *exchange) audit(level slog.Level, what, posID string, more ...any) {
	args := append([]any{slog.String("posId", posID), slog.String("source", x.source)}, more...)
	x.log().Log(context.Background(), level, what, args...)
}

// described is what identifies a certificate in the log.
func described(c *x509.Certificate) []any {
	return []any{
		slog.String("serial", c.SerialNumber.Text(16)),
		slog.String("sha256", fingerprintOf(c).String()),
		slog.Time("notAfter", c.NotAfter),
	}
}
