// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// rawsign signs with a PKCS#11 module as fast as a C program can: threads that
// have a session each and do nothing but C_SignInit and C_Sign. It is the limit
// with which BenchmarkAgainstC compares this package.
//
//   rawsign MODULE TOKEN-LABEL KEY-LABEL pkcs1|pss|ecdsa THREADS SECONDS
//
// The PIN is in $PIN. It prints signatures per second, and the median and the
// 99th percentile of one signature in microseconds.

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CK_PTR *
#define CK_DECLARE_FUNCTION(type, name) type name
#define CK_DECLARE_FUNCTION_POINTER(type, name) type(*name)
#define CK_CALLBACK_FUNCTION(type, name) type(*name)
#ifndef NULL_PTR
#define NULL_PTR 0
#endif
#include "pkcs11.h"

enum { MOST_THREADS = 64, MOST_SIGNATURES = 1 << 20 };

static CK_FUNCTION_LIST_PTR p11;
static CK_SLOT_ID slot;
static const char *key_label;
static double until;

static CK_RSA_PKCS_PSS_PARAMS pss = { CKM_SHA256, CKG_MGF1_SHA256, 32 };
static CK_MECHANISM mechanism;
static CK_BYTE input[19 + 32] = { // DigestInfo of SHA-256, and any digest
	0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
};
static CK_ULONG skip; // how much of the input is not signed

static unsigned *took[MOST_THREADS]; // microseconds
static long made[MOST_THREADS];

static void check(const char *what, CK_RV rv)
{
	if (rv != CKR_OK) {
		fprintf(stderr, "rawsign: %s: 0x%lx\n", what, rv);
		exit(1);
	}
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void load(const char *path)
{
	void *lib = dlopen(path, RTLD_NOW);
	CK_C_GetFunctionList list = lib ? (CK_C_GetFunctionList)dlsym(lib, "C_GetFunctionList") : NULL;
	if (!list) {
		fprintf(stderr, "rawsign: %s\n", dlerror());
		exit(1);
	}
	CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
	check("C_GetFunctionList", list(&p11));
	check("C_Initialize", p11->C_Initialize(&args));
}

static void find_slot(const char *label)
{
	CK_SLOT_ID slots[256];
	CK_ULONG n = 256;
	check("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &n));
	for (CK_ULONG i = 0; i < n; i++) {
		CK_TOKEN_INFO info;
		check("C_GetTokenInfo", p11->C_GetTokenInfo(slots[i], &info));
		size_t len = strlen(label);
		if (memcmp(info.label, label, len) == 0 && (len == 32 || info.label[len] == ' ')) {
			slot = slots[i];
			return;
		}
	}
	check(label, CKR_TOKEN_NOT_PRESENT);
}

static CK_SESSION_HANDLE open_session(void)
{
	CK_SESSION_HANDLE s;
	check("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s));
	return s;
}

static CK_OBJECT_HANDLE find_key(CK_SESSION_HANDLE s)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE template[] = {
		{ CKA_CLASS, &class, sizeof class },
		{ CKA_LABEL, (void *)key_label, strlen(key_label) },
	};
	CK_OBJECT_HANDLE key;
	CK_ULONG n = 0;
	check("C_FindObjectsInit", p11->C_FindObjectsInit(s, template, 2));
	check("C_FindObjects", p11->C_FindObjects(s, &key, 1, &n));
	check("C_FindObjectsFinal", p11->C_FindObjectsFinal(s));
	check(key_label, n == 1 ? CKR_OK : CKR_KEY_HANDLE_INVALID);
	return key;
}

static void *sign(void *number)
{
	long me = (long)number;
	CK_SESSION_HANDLE s = open_session();
	CK_OBJECT_HANDLE key = find_key(s);
	CK_BYTE sig[1024];
	for (double before = now(), after; before < until && made[me] < MOST_SIGNATURES; before = after) {
		CK_ULONG n = sizeof sig;
		check("C_SignInit", p11->C_SignInit(s, &mechanism, key));
		check("C_Sign", p11->C_Sign(s, input + skip, sizeof input - skip, sig, &n));
		after = now();
		took[me][made[me]++] = (after - before) * 1e6;
	}
	return NULL;
}

static int by_size(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
	return (x > y) - (x < y);
}

static void report(long threads, double seconds)
{
	long n = 0;
	unsigned *all = malloc(threads * MOST_SIGNATURES * sizeof *all);
	for (long i = 0; i < threads; i++) {
		memcpy(all + n, took[i], made[i] * sizeof *all);
		n += made[i];
	}
	qsort(all, n, sizeof *all, by_size);
	printf("%.1f %u %u\n", n / seconds, all[n / 2], all[n * 99 / 100]);
}

int main(int argc, char **argv)
{
	if (argc != 7 || !getenv("PIN") || atol(argv[5]) > MOST_THREADS) {
		fprintf(stderr, "usage: PIN=... rawsign MODULE TOKEN-LABEL KEY-LABEL pkcs1|pss|ecdsa THREADS SECONDS\n");
		return 2;
	}
	load(argv[1]);
	find_slot(argv[2]);
	key_label = argv[3];
	mechanism.mechanism = CKM_RSA_PKCS;
	if (strcmp(argv[4], "pkcs1") != 0) {
		skip = 19;
		mechanism = (CK_MECHANISM){ CKM_ECDSA, NULL, 0 };
	}
	if (strcmp(argv[4], "pss") == 0)
		mechanism = (CK_MECHANISM){ CKM_RSA_PKCS_PSS, &pss, sizeof pss };
	check("C_Login", p11->C_Login(open_session(), CKU_USER, (CK_UTF8CHAR *)getenv("PIN"), strlen(getenv("PIN"))));

	long threads = atol(argv[5]);
	pthread_t id[MOST_THREADS];
	double start = now();
	until = start + atof(argv[6]);
	for (long i = 0; i < threads; i++) {
		took[i] = malloc(MOST_SIGNATURES * sizeof *took[i]);
		pthread_create(&id[i], NULL, sign, (void *)i);
	}
	for (long i = 0; i < threads; i++)
		pthread_join(id[i], NULL);
	report(threads, now() - start);
	return 0;
}
