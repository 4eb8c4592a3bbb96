// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build cgo && unix

package p11

/*
#include <time.h>

// The little of PKCS#11 v2.40 that a signature needs. CK_FUNCTION_LIST is a
// version, padded to the size of a pointer, and the functions in the order of
// the standard (section 3.6).
typedef unsigned long ulong_t;

struct mechanism { ulong_t type; void *parameter; ulong_t length; };
struct pss       { ulong_t hash, mgf, salt; };

typedef ulong_t (*sign_init)(ulong_t session, struct mechanism *m, ulong_t key);
typedef ulong_t (*sign)(ulong_t session, unsigned char *in, ulong_t in_len, unsigned char *out, ulong_t *out_len);

enum { C_SIGN_INIT = 1 + 42, C_SIGN = 1 + 43 };

// What miekg/pkcs11 keeps of a loaded module.
struct module { void *handle; void **functions; };

// What became of a signature: the answer of C_SignInit, or of C_Sign if that was
// called, the length, and whether C_Sign waited for something most of its time.
struct made { ulong_t code, length; int signing, waited; };

static long long nanoseconds(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct made hsmtls_sign(struct module *m, ulong_t session, ulong_t key, ulong_t type, ulong_t hash, ulong_t mgf, ulong_t salt,
	int begun, unsigned char *in, ulong_t in_len, unsigned char *out, ulong_t size)
{
	struct pss p = { hash, mgf, salt };
	struct mechanism mech = { type, salt ? &p : 0, salt ? sizeof p : 0 };
	struct made made = { 0, size, 0, 0 };
	if (!begun)
		made.code = ((sign_init)m->functions[C_SIGN_INIT])(session, &mech, key);
	if (made.code)
		return made;
	made.signing = 1;
	long long start = nanoseconds(CLOCK_MONOTONIC), work = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
	made.code = ((sign)m->functions[C_SIGN])(session, in, in_len, out, &made.length);
	work = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - work;
	made.waited = 4 * work < nanoseconds(CLOCK_MONOTONIC) - start;
	return made;
}
*/
import "C"

import (
	"unsafe"

	"github.com/miekg/pkcs11"
)

// miekg/pkcs11 asks for the length of each signature before it asks for the
// signature. On a network HSM that is a round trip, and the length is known: so
// this calls the module that miekg/pkcs11 has loaded by itself, both functions in
// one go. Its Ctx holds nothing but a pointer to struct module; TestDirect fails if
// a new version changes that.

func moduleOf(raw *pkcs11.Ctx) *C.struct_module {
	return *(**C.struct_module)(unsafe.Pointer(raw))
}

// separate reports whether a module gives every loader an instance of its own, as
// p11-kit-client does: then each has other functions. No function of PKCS#11 is
// called but C_GetFunctionList. A module that cannot be loaded is not separate.
func separate(path string) bool {
	one, other := pkcs11.New(path), pkcs11.New(path)
	if one == nil || other == nil {
		return false
	}
	defer one.Destroy()
	defer other.Destroy()
	return moduleOf(one).functions != moduleOf(other).functions
}

func (l linked) sign(s pkcs11.SessionHandle, o order) (sig []byte, waited bool, err error) {
	sig = make([]byte, o.Size)
	begun := C.int(0)
	if o.Begun {
		begun = 1
	}
	m := o.Mechanism
	made := C.hsmtls_sign(moduleOf(l.Ctx), C.ulong_t(s), C.ulong_t(o.Key),
		C.ulong_t(m.Mechanism), C.ulong_t(m.Hash), C.ulong_t(m.MGF), C.ulong_t(m.Salt), begun,
		(*C.uchar)(unsafe.SliceData(o.Input)), C.ulong_t(len(o.Input)), (*C.uchar)(unsafe.SliceData(sig)), C.ulong_t(o.Size))
	if made.code == 0 {
		return sig[:min(int(made.length), o.Size)], made.waited != 0, nil
	}
	op := "C_Sign"
	if made.signing == 0 {
		op = "C_SignInit"
	}
	return nil, false, refusal(op, uint(made.code))
}

func refusal(op string, code uint) error {
	if code == 0 {
		return nil
	}
	return &Error{Op: op, Code: code}
}
