// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"slices"

	"github.com/miekg/pkcs11"
)

// Inventory lists the objects of the token in one search, and searches for those of a
// class if there are some that are not in last.
func (h *handle) Inventory(ctx context.Context, last *Inventory) (*Inventory, error) {
	return object(ctx, h, true, func(v session) (*Inventory, error) {
		handles, err := find(v.raw, v.handle)
		if err != nil {
			return nil, err
		}
		next := &Inventory{make([]Object, 0, len(handles)), make(map[Object]Class, len(handles))}
		var fresh []pkcs11.ObjectHandle
		for _, o := range handles {
			if c, known := last.class(v.object(o)); known {
				next.add(v.object(o), c)
			} else {
				fresh = append(fresh, o)
			}
		}
		return next, v.classify(next, fresh)
	})
}

// classify finds out what objects are, and adds them. It asks for each class as long as
// there are some of which nothing is known, and reads none of them: SoftHSM 2.6.1 lists
// objects that were cut off while they were written, does not find them if asked for
// certificates, and does so once an attribute of them was read.
func (v session) classify(next *Inventory, fresh []pkcs11.ObjectHandle) error {
	known := map[pkcs11.ObjectHandle]Class{}
	unknown := func(o pkcs11.ObjectHandle) bool { return known[o] == ClassOther }
	for _, c := range []Class{ClassCertificate, ClassData, ClassPrivateKey} {
		if !slices.ContainsFunc(fresh, unknown) {
			break
		}
		handles, err := v.find(classes[c], Filter{})
		if err != nil {
			return err
		}
		for _, o := range handles {
			known[o] = c
		}
	}
	for _, o := range fresh {
		next.add(v.object(o), known[o])
	}
	return nil
}

var classes = map[Class]uint{
	ClassCertificate: pkcs11.CKO_CERTIFICATE,
	ClassData:        pkcs11.CKO_DATA,
	ClassPrivateKey:  pkcs11.CKO_PRIVATE_KEY,
}

// ReadData reads data objects.
func (h *handle) ReadData(ctx context.Context, objects []Object) ([]Data, error) {
	return readListed(ctx, h, objects, session.data)
}

// KeyIDs reads the CKA_IDs of keys.
func (h *handle) KeyIDs(ctx context.Context, objects []Object) ([][]byte, error) {
	return readListed(ctx, h, objects, func(v session, o pkcs11.ObjectHandle) ([]byte, error) {
		a, err := v.attributes(o, pkcs11.CKA_ID)
		return a.bytes(pkcs11.CKA_ID), err
	})
}

// readListed reads objects in one session, and does not reach the token for none.
func readListed[T any](ctx context.Context, h *handle, objects []Object, read func(session, pkcs11.ObjectHandle) (T, error)) ([]T, error) {
	if len(objects) == 0 {
		return nil, ctx.Err()
	}
	return object(ctx, h, true, func(v session) ([]T, error) { return readEach(v, objects, read) })
}

// readEach reads objects that were listed.
func readEach[T any](v session, objects []Object, read func(session, pkcs11.ObjectHandle) (T, error)) ([]T, error) {
	handles := make([]pkcs11.ObjectHandle, len(objects))
	for i, o := range objects {
		if o.generation != v.pool.generation.number {
			return nil, ErrStale
		}
		handles[i] = pkcs11.ObjectHandle(o.handle)
	}
	return readAll(handles, func(h pkcs11.ObjectHandle) (T, error) { return read(v, h) })
}
