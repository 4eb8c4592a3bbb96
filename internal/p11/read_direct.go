// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && unix

package p11

/*
// See direct.go. CK_ATTRIBUTE is PKCS#11 v2.40 section 3.4.
typedef unsigned long ulong_t;

struct attribute { ulong_t type; void *value; ulong_t length; };

typedef ulong_t (*get_attribute_value)(ulong_t session, ulong_t object, struct attribute *a, ulong_t n);

enum { C_GET_ATTRIBUTE_VALUE = 1 + 24, MOST_ATTRIBUTES = 16 };

struct module { void *handle; void **functions; };

// The values lie one behind the other in a buffer, as far apart as lengths says.
static ulong_t hsmtls_read(struct module *m, ulong_t session, ulong_t object, char *buffer, ulong_t n, ulong_t *types, ulong_t *lengths)
{
	struct attribute a[MOST_ATTRIBUTES];
	ulong_t rv;
	for (ulong_t i = 0; i < n; i++) {
		a[i] = (struct attribute){ types[i], buffer, lengths[i] };
		buffer += lengths[i];
	}
	rv = ((get_attribute_value)m->functions[C_GET_ATTRIBUTE_VALUE])(session, object, a, n);
	for (ulong_t i = 0; i < n; i++)
		lengths[i] = a[i].length;
	return rv;
}
*/
import "C"

import (
	"unsafe"

	"github.com/miekg/pkcs11"
)

// unavailable is CK_UNAVAILABLE_INFORMATION as a length.
const unavailable = ^C.ulong_t(0)

// readInto reads at most 16 attributes with one call, which miekg/pkcs11 does with
// two: it asks for the lengths first. Room is a multiple of 8 for each; a value must
// be shorter. An attribute that the object does not have is absent if the module has
// gone on to the others, as PKCS#11 v2.40 section 5.7 wants; else the refusal is
// returned: a length that the module has not touched tells. So it is if an attribute is
// missing that every such object has: the same answer stands for a value that did not
// fit, where another attribute is refused.
func (l linked) readInto(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, types, room []uint) (attributes, error) {
	total := uint(0)
	kinds, lengths := make([]C.ulong_t, len(types)), make([]C.ulong_t, len(types))
	for i, t := range types {
		kinds[i], lengths[i] = C.ulong_t(t), C.ulong_t(room[i])
		total += room[i]
	}
	buffer := make([]byte, total)
	rv := C.hsmtls_read((*C.struct_module)(unsafe.Pointer(moduleOf(l.Ctx))), C.ulong_t(s), C.ulong_t(o),
		(*C.char)(unsafe.Pointer(&buffer[0])), C.ulong_t(len(types)), &kinds[0], &lengths[0])
	err := refusal("C_GetAttributeValue", uint(rv))
	if err != nil && !isAttributeRefusal(err) {
		return nil, err
	}
	got := make(attributes, len(types))
	for i, t := range types {
		switch n := lengths[i]; {
		case n == unavailable && err != nil && len(types) > 1 && isEverywhere(t):
			return nil, err
		case n == unavailable:
		case n < C.ulong_t(room[i]):
			got[t] = buffer[:n]
		case err != nil:
			return nil, err
		default:
			return nil, &Error{Op: "C_GetAttributeValue", Code: ckrBufferTooSmall}
		}
		buffer = buffer[room[i]:]
	}
	return got, nil
}
