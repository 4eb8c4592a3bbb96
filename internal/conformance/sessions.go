// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/hsmtls/hsmtls-go/hsm"
	"github.com/hsmtls/hsmtls-go/keystore"
)

// sessions loses them, shares them and closes them.
func (r *trial) sessions() {
	r.feature("recovery after lost sessions", func(ctx context.Context) error {
		if r.subject.Lose == nil {
			return notTriedError("no means to lose them")
		}
		r.subject.Lose()
		before := r.token.Status().Outages
		if err := r.use(ctx); err != nil {
			return err
		}
		if r.token.Status().Outages == before {
			return errors.New("nothing was lost")
		}
		return nil
	})
	r.feature("second Open", func(ctx context.Context) error {
		other, err := hsm.Open(ctx, r.subject.Config)
		if err != nil {
			return err
		}
		if err := other.Close(); err != nil {
			return err
		}
		return r.use(ctx)
	})
	r.feature("second Open with a wrong PIN", func(ctx context.Context) error {
		if err := r.refuses(ctx, another); err != nil {
			return err
		}
		return r.use(ctx)
	})
	r.feature("use after Close", func(ctx context.Context) error {
		key := r.made[r.preferred()]
		if err := errors.Join(r.token.Close(), r.token.Close()); err != nil {
			return err
		}
		if _, err := r.token.Random(ctx, 8); !errors.Is(err, hsm.ErrClosed) {
			return fmt.Errorf("random bytes: %w", orMissing(err))
		}
		if key == nil {
			return nil
		}
		if err := signOnce(ctx, key); !errors.Is(err, hsm.ErrClosed) {
			return fmt.Errorf("signature: %w", orMissing(err))
		}
		return nil
	})
}

// use signs with a key found anew, or asks for a random number if there is none.
func (r *trial) use(ctx context.Context) error {
	typ := r.preferred()
	if typ == 0 {
		_, err := r.token.Random(ctx, 8)
		return err
	}
	key, err := r.keys.Key(ctx, r.alias(typ))
	if err != nil {
		return err
	}
	return signOnce(ctx, key)
}

func signOnce(ctx context.Context, key *keystore.Key) error {
	for _, s := range schemes {
		_, err := key.SignMessageContext(ctx, []byte("once"), s.opts)
		if !isRefusal(err) {
			return err
		}
	}
	return hsm.ErrUnsupported
}

// pins opens the closed token with a wrong PIN, if that is allowed, and with the
// right one, which has to find the keys.
func (r *trial) pins() {
	r.feature("Open with a wrong PIN", func(ctx context.Context) error {
		if r.subject.WrongPIN.IsZero() {
			return notTriedError("it may lock the token")
		}
		return r.refuses(ctx, r.subject.WrongPIN)
	})
	r.feature("Open again", func(ctx context.Context) error {
		r.open()
		return r.use(ctx)
	})
}

// refuses opens the token with a wrong PIN.
func (r *trial) refuses(ctx context.Context, wrong hsm.PIN) error {
	cfg := r.subject.Config
	cfg.PIN = wrong
	token, err := hsm.Open(ctx, cfg)
	if err == nil {
		_ = token.Close()
	}
	if !errors.Is(err, hsm.ErrPIN) {
		return fmt.Errorf("wrong PIN: %w", orMissing(err))
	}
	return nil
}

// another is a PIN that is not sent to the token: it is compared with the one
// that the token is open with.
var another = hsm.PINFunc(func(context.Context) ([]byte, error) { return []byte("no PIN"), nil })

// deletion destroys the keys and looks for what is left.
func (r *trial) deletion() {
	r.feature("key: delete", func(ctx context.Context) error {
		if len(r.made) == 0 {
			return notTriedError("no key")
		}
		for typ := range r.made {
			if err := r.keys.DeleteKey(ctx, r.alias(typ)); err != nil {
				return err
			}
			if _, err := r.keys.Key(ctx, r.alias(typ)); !errors.Is(err, keystore.ErrNotFound) {
				return fmt.Errorf("key after it was deleted: %w", orMissing(err))
			}
		}
		return nil
	})
}
