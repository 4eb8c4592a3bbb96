// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package truststore

import (
	"context"
	"slices"

	"github.com/hsmtls/hsmtls-go/internal/p11"
)

// decide asks the token what it has of the pending ones, takes back what has become
// of none, and publishes the rest.
func (b *bulk) decide(ctx context.Context) error {
	now, err := b.store.survey(ctx)
	if err != nil {
		return err
	}
	next, err := b.store.assess(ctx, now)
	if err != nil {
		return err
	}
	if b.judge(indexOf(now.certificates), next) {
		if now, err = b.undo(ctx, now); err != nil {
			return err
		}
		if next, err = b.store.assess(ctx, now); err != nil {
			return err
		}
	}
	b.store.publish(next)
	return nil
}

// judge sets the verdicts, and reports whether something must be taken back.
func (b *bulk) judge(there index, now *snapshot) (failed bool) {
	for i := range b.pending {
		p := &b.pending[i]
		if p.Err == nil {
			p.Entry, p.Err = p.kept(there, now)
		}
		failed = failed || p.Err != nil && len(p.writer.written)+len(b.writer.written) > 0
	}
	return failed
}

// kept returns the entry as the token has it, if it is trusted.
func (p *pending) kept(there index, now *snapshot) (Entry, error) {
	if _, err := there.kept(p.Entry); err != nil {
		return Entry{}, err
	}
	if e, ok := now.byCertificate[string(p.Entry.Certificate.Raw)]; ok && e.Alias == p.Alias {
		return e, nil
	}
	for _, r := range now.rejected {
		if r.Label == p.Alias && r.Certificate != nil && r.Certificate.Equal(p.Entry.Certificate) {
			return Entry{}, r.Err
		}
	}
	return Entry{}, ErrNotStored
}

// undo removes what was written for candidates that have become nothing, and the
// issuers that were written for them alone. It returns what is there then.
func (b *bulk) undo(ctx context.Context, now survey) (_ survey, err error) {
	there := indexOf(now.certificates)
	for i := range b.pending {
		p := &b.pending[i]
		if p.Err == nil {
			continue
		}
		if err := p.writer.undoAmong(ctx, there); err != nil {
			return survey{}, err
		}
	}
	if now, err = b.store.survey(ctx); err != nil || len(b.writer.written) == 0 {
		return now, err
	}
	there, idle := indexOf(b.writer.written), []found(nil)
	for _, o := range b.store.unneeded(now.certificates) {
		if _, ok := there.find(p11.CertificateTemplate{Label: o.Label, ID: o.ID, Value: o.Value}); ok {
			idle = append(idle, o)
		}
	}
	b.writer.written = nil
	if len(idle) == 0 {
		return now, nil
	}
	if err := b.store.removeAll(ctx, idle); err != nil {
		return survey{}, err
	}
	return b.store.giveBack(ctx, idle)
}

// undoAmong is undo for who knows what is there, so that the token need not be
// asked for each object that it has not kept.
func (w *writer) undoAmong(ctx context.Context, there index) error {
	for _, o := range slices.Backward(w.written) {
		if _, ok := there.find(p11.CertificateTemplate{Label: o.Label, ID: o.ID, Value: o.Value}); !ok {
			continue
		}
		if err := w.store.remove(ctx, o.Certificate); err != nil {
			return err
		}
	}
	w.written = nil
	return nil
}
