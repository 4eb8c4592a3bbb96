// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo

package p11

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"
)

// A session is a raw session in use, with the questions that are asked of
// objects.
type session struct {
	raw    library
	handle pkcs11.SessionHandle
	pool   *pool
}

// begin starts a signature with a key that wants the PIN every time. The PIN is asked
// for first, so that a source that has none leaves no operation active.
func (v session) begin(m ckMechanism, key pkcs11.ObjectHandle) error {
	c := v.pool.core
	pin, err := askPIN(context.Background(), c.cfg, c.info)
	if err != nil {
		return err
	}
	defer clear(pin)
	if err := v.signInit(m, key); err != nil {
		return err
	}
	return v.loginAgain(pin)
}

// loginAgain gives the PIN for one operation (PKCS#11 v2.40 section 5.6,
// CKU_CONTEXT_SPECIFIC). A PIN that was refused, because it was changed elsewhere, is
// not tried again, nor by another session meanwhile: a few tries lock the token.
func (v session) loginAgain(pin []byte) error {
	c := v.pool.core
	c.again.Lock()
	defer c.again.Unlock()
	if !c.mayTry(pin) {
		return &Error{Op: "C_Login", Code: ckrPINIncorrect}
	}
	err := wrap("C_Login", v.raw.Login(v.handle, pkcs11.CKU_CONTEXT_SPECIFIC, string(pin)))
	if isPINError(err) {
		c.refuse(pin)
	}
	return err
}

// findBatch is how many handles one C_FindObjects may return. An answer with fewer
// than lastBatch ends a search without the question that brings none. PKCS#11 v2.40
// section 5.7 promises that of no answer but the empty one; but NSS asks for ten at a
// time, and takes fewer for the end, as p11-kit does with 64. So a module that
// gives fewer and has more works with neither.
const (
	findBatch = 2048
	lastBatch = 10

	mostObjects = 1 << 20 // on a token; who names more never ends
)

// find returns the handles of all objects that have the attributes.
func find(raw library, s pkcs11.SessionHandle, template ...*pkcs11.Attribute) (_ []pkcs11.ObjectHandle, err error) {
	if err := raw.FindObjectsInit(s, template); err != nil {
		return nil, wrap("C_FindObjectsInit", err)
	}
	defer func() {
		if final := raw.FindObjectsFinal(s); err == nil {
			err = wrap("C_FindObjectsFinal", final)
		}
	}()
	var all []pkcs11.ObjectHandle
	for {
		found, _, err := raw.FindObjects(s, findBatch)
		if err != nil {
			return nil, wrap("C_FindObjects", err)
		}
		if all = append(all, found...); len(found) < lastBatch {
			return all, nil
		}
		if len(all) > mostObjects {
			return nil, fmt.Errorf("C_FindObjects does not come to an end: %d objects", len(all))
		}
	}
}

func (v session) find(class uint, f Filter) ([]pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if class == pkcs11.CKO_CERTIFICATE {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_CERTIFICATE_TYPE, pkcs11.CKC_X_509))
	}
	if f.Label != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, f.Label))
	}
	if len(f.ID) > 0 {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, f.ID))
	}
	if len(f.Subject) > 0 {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_SUBJECT, f.Subject))
	}
	return find(v.raw, v.handle, template...)
}

func (v session) object(h pkcs11.ObjectHandle) Object {
	return Object{generation: v.pool.generation.number, handle: uint(h)}
}

// attributes are the values of one object by attribute type. An attribute that
// the object does not have is absent.
type attributes map[uint][]byte

// attributes reads the given attributes, with one call if the module keeps to the
// standard and the values have a usual size, one by one where a single attribute that
// the module does not know fails the whole call.
func (v session) attributes(h pkcs11.ObjectHandle, types ...uint) (attributes, error) {
	got, err := v.sized(h, types)
	if !isAttributeRefusal(err) {
		return got, err
	}
	got = attributes{}
	for _, t := range types {
		one, err := v.sized(h, []uint{t})
		if isAttributeRefusal(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		got[t] = one[t]
	}
	return got, nil
}

// sized reads attributes into the room they usually need. What needs more is read
// again into sixteen times as much, and then with the question how much it is.
func (v session) sized(h pkcs11.ObjectHandle, types []uint) (attributes, error) {
	room := make([]uint, len(types))
	for _, times := range []uint{1, 16} {
		for i, t := range types {
			room[i] = usualRoom(t) * times
		}
		got, err := v.raw.readInto(v.handle, h, types, room)
		if codeOf(err) != ckrBufferTooSmall {
			return got, err
		}
	}
	return v.read(h, types...)
}

// usualRoom is enough for most values of an attribute.
func usualRoom(t uint) uint {
	switch t {
	case pkcs11.CKA_VALUE:
		return 4096
	case pkcs11.CKA_MODULUS:
		return 1024
	case pkcs11.CKA_LABEL, pkcs11.CKA_ID, pkcs11.CKA_APPLICATION, pkcs11.CKA_PUBLIC_EXPONENT, pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT:
		return 256
	}
	return 16 // numbers and truth values
}

// isEverywhere reports whether every object of which it is read has an attribute.
func isEverywhere(t uint) bool {
	return slices.Contains([]uint{pkcs11.CKA_VALUE, pkcs11.CKA_LABEL, pkcs11.CKA_ID, pkcs11.CKA_APPLICATION, pkcs11.CKA_KEY_TYPE}, t)
}

// read asks how long the values are and then for the values.
func (v session) read(h pkcs11.ObjectHandle, types ...uint) (attributes, error) {
	template := make([]*pkcs11.Attribute, len(types))
	for i, t := range types {
		template[i] = pkcs11.NewAttribute(t, nil)
	}
	values, err := v.raw.GetAttributeValue(v.handle, h, template)
	if err != nil {
		return nil, wrap("C_GetAttributeValue", err)
	}
	got := attributes{}
	for _, a := range values {
		got[a.Type] = a.Value
	}
	return got, nil
}

// isAttributeRefusal reports whether a token says that it has no such
// attribute, or not for us.
func isAttributeRefusal(err error) bool {
	return slices.Contains([]uint{ckrAttributeTypeInvalid, ckrAttributeSensitive, ckrAttributeValue}, codeOf(err))
}

// bytes is a copy, because the values of an object are parts of one buffer.
func (a attributes) bytes(t uint) []byte { return bytes.Clone(a[t]) }

func (a attributes) bool(t uint) bool { return len(a[t]) > 0 && a[t][0] != 0 }

// ulong reads a CK_ULONG, which has the size of the platform's long.
func (a attributes) ulong(t uint) uint {
	switch b := a[t]; len(b) {
	case 8:
		return uint(binary.NativeEndian.Uint64(b))
	case 4:
		return uint(binary.NativeEndian.Uint32(b))
	}
	return 0
}
