// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && unix

package p11

/*
// The little of PKCS#11 v2.40 that two calls need. CK_FUNCTION_LIST is a
// version, padded to the size of a pointer, and the functions in the order of
// the standard (section 3.6).
typedef unsigned long ulong_t;

struct mechanism { ulong_t type; void *parameter; ulong_t length; };
struct pss       { ulong_t hash, mgf, salt; };

typedef ulong_t (*sign_init)(ulong_t session, struct mechanism *m, ulong_t key);
typedef ulong_t (*sign)(ulong_t session, void *in, ulong_t in_len, void *out, ulong_t *out_len);

enum { C_SIGN_INIT = 1 + 42, C_SIGN = 1 + 43 };

// What miekg/pkcs11 keeps of a loaded module.
struct module { void *handle; void **functions; };

static ulong_t hsmtls_sign_init(struct module *m, ulong_t session, ulong_t key, ulong_t type, ulong_t hash, ulong_t mgf, ulong_t salt)
{
	struct pss p = { hash, mgf, salt };
	struct mechanism mech = { type, salt ? &p : 0, salt ? sizeof p : 0 };
	return ((sign_init)m->functions[C_SIGN_INIT])(session, &mech, key);
}

static ulong_t hsmtls_sign(struct module *m, ulong_t session, void *in, ulong_t in_len, void *out, ulong_t *out_len)
{
	return ((sign)m->functions[C_SIGN])(session, in, in_len, out, out_len);
}
*/
import "C"

import (
	"unsafe"

	"github.com/miekg/pkcs11"
)

// miekg/pkcs11 asks for the length of each signature before it asks for the
// signature. On a network HSM that is a round trip, and the length is known: so
// these two functions call the module that miekg/pkcs11 has loaded by
// themselves. Its Ctx holds nothing but a pointer to struct module; TestDirect
// fails if a new version changes that.

func functions(raw *pkcs11.Ctx) *C.struct_module {
	return *(**C.struct_module)(unsafe.Pointer(raw))
}

func (v session) signInit(m ckMechanism, key pkcs11.ObjectHandle) error {
	rv := C.hsmtls_sign_init(functions(v.raw), C.ulong_t(v.handle), C.ulong_t(key),
		C.ulong_t(m.mechanism), C.ulong_t(m.hash), C.ulong_t(m.mgf), C.ulong_t(m.salt))
	return answer("C_SignInit", uint(rv))
}

// signature finishes what signInit began. The result has at most size bytes.
func (v session) signature(input []byte, size int) ([]byte, error) {
	out := make([]byte, size)
	n := C.ulong_t(size)
	rv := C.hsmtls_sign(functions(v.raw), C.ulong_t(v.handle),
		unsafe.Pointer(unsafe.SliceData(input)), C.ulong_t(len(input)), unsafe.Pointer(&out[0]), &n)
	if err := answer("C_Sign", uint(rv)); err != nil {
		return nil, err
	}
	return out[:min(int(n), size)], nil
}

func answer(op string, code uint) error {
	if code == 0 {
		return nil
	}
	return &Error{Op: op, Code: code}
}
