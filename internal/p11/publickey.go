// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"

	"github.com/miekg/pkcs11"
)

// PublicKeys returns the public key objects that match f.
func (h *handle) PublicKeys(ctx context.Context, f Filter) ([]PublicKey, error) {
	return object(ctx, h, true, func(v session) ([]PublicKey, error) {
		handles, err := v.find(pkcs11.CKO_PUBLIC_KEY, f)
		if err != nil {
			return nil, err
		}
		var all []PublicKey
		for _, o := range handles {
			a, err := v.attributes(o, pkcs11.CKA_LABEL, pkcs11.CKA_ID)
			if codeOf(err) == ckrObjectHandleInvalid {
				continue // it vanished between being found and being read
			}
			if err != nil {
				return nil, err
			}
			all = append(all, PublicKey{Object: v.object(o), Label: string(a[pkcs11.CKA_LABEL]), ID: a.bytes(pkcs11.CKA_ID)})
		}
		return all, nil
	})
}
