// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hsmtls/hsmtls-go/keystore"
	"github.com/hsmtls/hsmtls-go/pairing"
)

// pairOnToken pairs a POS whose key is on a token. That the certificate can be put
// there is found out before the code is spent.
func (a *app) pairOnToken(ctx context.Context, keys *keystore.Store, client *pairing.Client, request pairing.Request, r pairRequest) error {
	keyAlias := cmp.Or(r.key, r.alias)
	typ, err := parseKeyType(r.typ)
	if err != nil {
		return err
	}
	key, err := keyOrNew(ctx, keys, keyAlias, typ)
	if err != nil {
		return err
	}
	again, err := isOfKey(ctx, keys, r.alias, keyAlias)
	if err != nil {
		return err
	}
	request.Key = key
	bundle, err := client.Pair(ctx, request)
	if err != nil {
		return err
	}
	if err := bundle.Save(r.out); err != nil {
		return err
	}
	if again {
		err = keys.Replace(ctx, r.alias, bundle.Chain)
	} else {
		err = keys.Inject(ctx, r.alias, keyAlias, bundle.Chain)
	}
	if err != nil {
		return fmt.Errorf("paired, but %s is not on the token: %w", filepath.Join(r.out, "chain.pem"), err)
	}
	return a.paired("paired as", bundle, posPlace{r.posID, r.out, r.alias})
}

// keyOrNew is a key of the token, made if it is not there.
func keyOrNew(ctx context.Context, keys *keystore.Store, alias string, typ keystore.KeyType) (*keystore.Key, error) {
	key, err := keys.Key(ctx, alias)
	if errors.Is(err, keystore.ErrNotFound) {
		return keys.Generate(ctx, alias, typ)
	}
	return key, err
}

// isOfKey reports whether a certificate for the key is there, which may be
// replaced. One for another key is an error.
func isOfKey(ctx context.Context, keys *keystore.Store, alias, keyAlias string) (bool, error) {
	i, err := keys.Identity(ctx, alias)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case i.Key.Info().Alias != keyAlias:
		return false, fmt.Errorf("%q: %w by a certificate for key %q", alias, keystore.ErrExists, i.Key.Info().Alias)
	}
	return true, nil
}
