// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"context"
	"slices"

	"github.com/miekg/pkcs11"
)

// fewNew is how many new objects are asked for their class one by one. Of more,
// the token is asked which are certificates, which most are if there are many.
const fewNew = 64

// Inventory lists the objects of the token in one search, and asks for the class of
// those that are not in last.
func (h *handle) Inventory(ctx context.Context, last *Inventory) (*Inventory, error) {
	return object(ctx, h, true, func(v session) (*Inventory, error) {
		handles, err := find(v.raw, v.handle)
		if err != nil {
			return nil, err
		}
		certificates, err := v.certificatesIfMany(handles, last)
		if err != nil {
			return nil, err
		}
		next := &Inventory{make([]Object, 0, len(handles)), make(map[Object]Class, len(handles))}
		for _, o := range handles {
			c, known := last.class(v.object(o))
			if !known && certificates[o] {
				c, known = ClassCertificate, true
			}
			if !known {
				c, err = v.class(o)
			}
			switch {
			case err == nil:
				next.add(v.object(o), c)
			case codeOf(err) != ckrObjectHandleInvalid: // else it has vanished
				return nil, err
			}
		}
		return next, nil
	})
}

// certificatesIfMany returns which objects are certificates, or nothing if few are
// new.
func (v session) certificatesIfMany(handles []pkcs11.ObjectHandle, last *Inventory) (map[pkcs11.ObjectHandle]bool, error) {
	fresh := 0
	for _, o := range handles {
		if _, known := last.class(v.object(o)); !known {
			fresh++
		}
	}
	if fresh <= fewNew {
		return nil, nil
	}
	found, err := v.find(pkcs11.CKO_CERTIFICATE, Filter{})
	certificates := make(map[pkcs11.ObjectHandle]bool, len(found))
	for _, o := range found {
		certificates[o] = true
	}
	return certificates, err
}

// class asks what an object is.
func (v session) class(h pkcs11.ObjectHandle) (Class, error) {
	a, err := v.attributes(h, pkcs11.CKA_CLASS)
	if err != nil {
		return 0, err
	}
	switch a.ulong(pkcs11.CKA_CLASS) {
	case pkcs11.CKO_DATA:
		return ClassData, nil
	case pkcs11.CKO_PRIVATE_KEY:
		return ClassPrivateKey, nil
	case pkcs11.CKO_CERTIFICATE:
		a, err := v.attributes(h, pkcs11.CKA_CERTIFICATE_TYPE)
		if err == nil && a.ulong(pkcs11.CKA_CERTIFICATE_TYPE) == pkcs11.CKC_X_509 {
			return ClassCertificate, nil
		}
		return ClassOther, err
	}
	return ClassOther, nil
}

// ReadData reads data objects.
func (h *handle) ReadData(ctx context.Context, objects []Object) ([]Data, error) {
	return readListed(ctx, h, objects, session.data)
}

// KeyIDs reads the CKA_IDs of keys.
func (h *handle) KeyIDs(ctx context.Context, objects []Object) ([][]byte, error) {
	return readListed(ctx, h, objects, func(v session, o pkcs11.ObjectHandle) ([]byte, error) {
		a, err := v.attributes(o, pkcs11.CKA_ID)
		return slices.Clone(a[pkcs11.CKA_ID]), err
	})
}

// readListed reads objects in one session, and does not reach the token for none.
func readListed[T any](ctx context.Context, h *handle, objects []Object, read func(session, pkcs11.ObjectHandle) (T, error)) ([]T, error) {
	if len(objects) == 0 {
		return nil, ctx.Err()
	}
	return object(ctx, h, true, func(v session) ([]T, error) { return readEach(v, objects, read) })
}

// readEach reads objects that were listed. Those that have vanished are left out.
func readEach[T any](v session, objects []Object, read func(session, pkcs11.ObjectHandle) (T, error)) ([]T, error) {
	all := make([]T, 0, len(objects))
	for _, o := range objects {
		if o.generation != v.pool.generation.number {
			return nil, ErrStale
		}
		one, err := read(v, pkcs11.ObjectHandle(o.handle))
		if codeOf(err) == ckrObjectHandleInvalid {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}
