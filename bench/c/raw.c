// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

//go:build ignore

// The limit: the PKCS#11 module called from C, with two calls for a signature
// and one for an object, and nothing around it. It does no TLS and verifies
// nothing.

#include "contend.h"

#include <dlfcn.h>

#include "pkcs11go.h"

enum { LIST = 2048 }; // handles in one answer

static CK_FUNCTION_LIST *p11;
static CK_SLOT_ID slot;
static CK_SESSION_HANDLE main_session;
static CK_OBJECT_HANDLE key;
static CK_MECHANISM mechanism;
static CK_RSA_PKCS_PSS_PARAMS pss = {CKM_SHA256, CKG_MGF1_SHA256, 32};
static CK_BYTE digest[51];
static CK_ULONG digest_len;

static void check(const char *what, CK_RV rv)
{
	if (rv != CKR_OK)
		die(what, rv);
}

static void find_slot(void)
{
	CK_SLOT_ID slots[64];
	CK_TOKEN_INFO info;
	CK_ULONG n = 64, len = strlen(env("BENCH_TOKEN"));
	check("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &n));
	for (CK_ULONG i = 0; i < n; i++) {
		check("C_GetTokenInfo", p11->C_GetTokenInfo(slots[i], &info));
		if (memcmp(info.label, env("BENCH_TOKEN"), len) == 0 && (len == 32 || info.label[len] == ' ')) {
			slot = slots[i];
			return;
		}
	}
	die("no such token", 0);
}

static CK_SESSION_HANDLE session(void)
{
	CK_SESSION_HANDLE s;
	check("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s));
	return s;
}

static void open_token(void)
{
	CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
	CK_C_GetFunctionList get;
	void *lib = dlopen(env("BENCH_MODULE"), RTLD_NOW);
	if (!lib || !(get = (CK_C_GetFunctionList)dlsym(lib, "C_GetFunctionList")))
		die("dlopen", 0);
	check("C_GetFunctionList", get(&p11));
	check("C_Initialize", p11->C_Initialize(&args));
	find_slot();
	main_session = session();
	check("C_Login", p11->C_Login(main_session, CKU_USER, (CK_BYTE *)env("BENCH_PIN"), strlen(env("BENCH_PIN"))));
}

static void find_key(const char *label)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, (void *)label, strlen(label)}};
	CK_ULONG n = 0;
	check("C_FindObjectsInit", p11->C_FindObjectsInit(main_session, t, 2));
	check("C_FindObjects", p11->C_FindObjects(main_session, &key, 1, &n));
	check("C_FindObjectsFinal", p11->C_FindObjectsFinal(main_session));
	if (n != 1)
		die("no such key", n);
}

static void open_pkcs1(void)
{
	static const CK_BYTE prefix[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}; // RFC 8017 9.2
	open_token();
	find_key("unit_key");
	memcpy(digest, prefix, sizeof prefix);
	digest_len = sizeof prefix + 32;
	mechanism = (CK_MECHANISM){CKM_RSA_PKCS, NULL, 0};
}

static void open_pss(void)
{
	open_token();
	find_key("unit_key");
	digest_len = 32;
	mechanism = (CK_MECHANISM){CKM_RSA_PKCS_PSS, &pss, sizeof pss};
}

static void open_p256(void)
{
	open_token();
	find_key("p256_key");
	digest_len = 32;
	mechanism = (CK_MECHANISM){CKM_ECDSA, NULL, 0};
}

static void *own_session(int number)
{
	(void)number;
	return (void *)session();
}

static int sign(void *worker)
{
	CK_BYTE signature[512];
	CK_ULONG len = sizeof signature;
	CK_RV rv = p11->C_SignInit((CK_SESSION_HANDLE)worker, &mechanism, key);
	if (rv != CKR_OK)
		return fail("C_SignInit", rv);
	rv = p11->C_Sign((CK_SESSION_HANDLE)worker, digest, digest_len, signature, &len);
	return rv == CKR_OK ? 0 : fail("C_Sign", rv);
}

// read_one reads what a certificate is made of, with one call.
static int read_one(CK_OBJECT_HANDLE object)
{
	CK_BYTE value[8192], label[256], id[256];
	CK_ATTRIBUTE t[] = {{CKA_VALUE, value, sizeof value}, {CKA_LABEL, label, sizeof label}, {CKA_ID, id, sizeof id}};
	CK_RV rv = p11->C_GetAttributeValue(main_session, object, t, 3);
	return rv == CKR_OK ? 0 : fail("C_GetAttributeValue", rv);
}

// load reads every certificate of the token.
static int load(void *worker)
{
	static CK_OBJECT_HANDLE found[65536];
	CK_OBJECT_CLASS class = CKO_CERTIFICATE;
	CK_ATTRIBUTE t = {CKA_CLASS, &class, sizeof class};
	CK_ULONG n = 0, all = 0;
	(void)worker;
	CK_RV rv = p11->C_FindObjectsInit(main_session, &t, 1);
	if (rv != CKR_OK)
		return fail("C_FindObjectsInit", rv);
	do {
		rv = p11->C_FindObjects(main_session, found + all, LIST, &n);
		all += n;
	} while (rv == CKR_OK && n == LIST && all + LIST <= sizeof found / sizeof *found);
	p11->C_FindObjectsFinal(main_session);
	if (rv != CKR_OK || all == 0)
		return fail("C_FindObjects", rv);
	for (CK_ULONG i = 0; i < all; i++)
		if (read_one(found[i]) != 0)
			return -1;
	return 0;
}

static CK_BYTE extra[8192];
static CK_ULONG extra_len;
static CK_OBJECT_HANDLE injected;

static void open_inject(void)
{
	FILE *f = fopen(file("extra.der"), "r");
	if (!f || !(extra_len = fread(extra, 1, sizeof extra, f)))
		die("extra.der", 0);
	fclose(f);
	open_token();
}

// inject writes a certificate object. Its subject, which PKCS#11 wants, is left
// empty.
static int inject(void *worker)
{
	CK_OBJECT_CLASS class = CKO_CERTIFICATE;
	CK_CERTIFICATE_TYPE type = CKC_X_509;
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof class}, {CKA_CERTIFICATE_TYPE, &type, sizeof type}, {CKA_TOKEN, &yes, sizeof yes},
		{CKA_LABEL, "extra", 5}, {CKA_ID, "extra", 5}, {CKA_SUBJECT, "\x30\x00", 2}, {CKA_VALUE, extra, extra_len}};
	(void)worker;
	CK_RV rv = p11->C_CreateObject(main_session, t, sizeof t / sizeof *t, &injected);
	return rv == CKR_OK ? 0 : fail("C_CreateObject", rv);
}

static int remove_it(void *worker)
{
	(void)worker;
	CK_RV rv = p11->C_DestroyObject(main_session, injected);
	return rv == CKR_OK ? 0 : fail("C_DestroyObject", rv);
}

// start does without TLS what a client does before and in its first handshake.
static int start(void *worker)
{
	(void)worker;
	open_pkcs1();
	return sign((void *)main_session);
}

// start_read reads all certificates as well.
static int start_read(void *worker)
{
	int rv = start(worker);
	return rv == 0 ? load(worker) : rv;
}

int main(int argc, char **argv)
{
	static const struct workload workloads[] = {
		{"sign-pkcs1", open_pkcs1, own_session, sign, NULL},
		{"sign-pss", open_pss, own_session, sign, NULL},
		{"sign-p256", open_p256, own_session, sign, NULL},
		{"start", NULL, NULL, start, NULL},
		{"start-trust", NULL, NULL, start_read, NULL},
		{"trust-load", open_token, NULL, load, NULL},
		{"trust-inject", open_inject, NULL, inject, remove_it},
		{0},
	};
	return contend(argc, argv, workloads);
}
