// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// tryexport asks a PKCS#11 token, in the three ways the standard knows, to give
// a private key away, and prints the token's answers. It does not go through
// any of this project's Go code: what it shows is what the token says.
//
//   tryexport MODULE TOKEN-LABEL KEY-LABEL PIN-FILE
//
// Exit status: 0 if the token refused every attempt, 1 if one succeeded, 2 if
// the question could not be put.

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CK_PTR *
#define CK_DECLARE_FUNCTION(type, name) type name
#define CK_DECLARE_FUNCTION_POINTER(type, name) type(*name)
#define CK_CALLBACK_FUNCTION(type, name) type(*name)
#ifndef NULL_PTR
#define NULL_PTR 0
#endif
#include "pkcs11.h"

static CK_FUNCTION_LIST_PTR p11;
static int given;

static void die(const char *what, CK_RV rv) {
	fprintf(stderr, "tryexport: %s: 0x%lx\n", what, (unsigned long)rv);
	exit(2);
}

static void must(const char *what, CK_RV rv) {
	if (rv != CKR_OK)
		die(what, rv);
}

// answer prints what the token said to one attempt.
static void answer(const char *attempt, CK_RV rv) {
	const char *name = "";
	switch (rv) {
	case CKR_OK: name = "CKR_OK: THE KEY WAS GIVEN AWAY"; given = 1; break;
	case CKR_ATTRIBUTE_SENSITIVE: name = "CKR_ATTRIBUTE_SENSITIVE"; break;
	case CKR_ATTRIBUTE_READ_ONLY: name = "CKR_ATTRIBUTE_READ_ONLY"; break;
	case CKR_KEY_UNEXTRACTABLE: name = "CKR_KEY_UNEXTRACTABLE"; break;
	case CKR_KEY_NOT_WRAPPABLE: name = "CKR_KEY_NOT_WRAPPABLE"; break;
	case CKR_ACTION_PROHIBITED: name = "CKR_ACTION_PROHIBITED"; break;
	default: die(attempt, rv); // not a refusal
	}
	printf("%s: %s\n", attempt, name);
}

static CK_SLOT_ID find_token(const char *label) {
	CK_SLOT_ID slots[64];
	CK_ULONG n = 64;
	must("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &n));
	for (CK_ULONG i = 0; i < n; i++) {
		CK_TOKEN_INFO info;
		char padded[33];
		must("C_GetTokenInfo", p11->C_GetTokenInfo(slots[i], &info));
		snprintf(padded, sizeof padded, "%-32s", label);
		if (memcmp(padded, info.label, 32) == 0)
			return slots[i];
	}
	fprintf(stderr, "tryexport: no token %s\n", label);
	exit(2);
}

static CK_OBJECT_HANDLE find_key(CK_SESSION_HANDLE s, char *label) {
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE want[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, label, strlen(label)}};
	CK_OBJECT_HANDLE key[2];
	CK_ULONG n = 0;
	must("C_FindObjectsInit", p11->C_FindObjectsInit(s, want, 2));
	must("C_FindObjects", p11->C_FindObjects(s, key, 2, &n));
	must("C_FindObjectsFinal", p11->C_FindObjectsFinal(s));
	if (n != 1) {
		fprintf(stderr, "tryexport: %lu private keys %s\n", (unsigned long)n, label);
		exit(2);
	}
	return key[0];
}

static void login(CK_SESSION_HANDLE s, const char *pin_file) {
	unsigned char pin[256];
	FILE *f = fopen(pin_file, "r");
	if (f == NULL) {
		perror(pin_file);
		exit(2);
	}
	size_t n = fread(pin, 1, sizeof pin, f);
	fclose(f);
	while (n > 0 && (pin[n - 1] == '\n' || pin[n - 1] == '\r'))
		n--;
	must("C_Login", p11->C_Login(s, CKU_USER, pin, n));
	memset(pin, 0, sizeof pin);
}

// read_value asks for the secret number: the private exponent (RSA) or the
// private value (EC).
static CK_RV read_value(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key) {
	CK_KEY_TYPE type;
	unsigned char secret[1024];
	CK_ATTRIBUTE t = {CKA_KEY_TYPE, &type, sizeof type};
	must("CKA_KEY_TYPE", p11->C_GetAttributeValue(s, key, &t, 1));
	CK_ATTRIBUTE v = {type == CKK_RSA ? CKA_PRIVATE_EXPONENT : CKA_VALUE, secret, sizeof secret};
	return p11->C_GetAttributeValue(s, key, &v, 1);
}

// make_extractable asks the token to lift the key's protection.
static CK_RV make_extractable(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key) {
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE a = {CKA_EXTRACTABLE, &yes, sizeof yes};
	return p11->C_SetAttributeValue(s, key, &a, 1);
}

// wrap asks the token to hand the key out encrypted under an AES key of ours.
static CK_RV wrap(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key) {
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ULONG len = 32;
	CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL_PTR, 0}, wrapping = {0x210AUL /* CKM_AES_KEY_WRAP_PAD */, NULL_PTR, 0};
	CK_ATTRIBUTE kek[] = {{CKA_TOKEN, &no, sizeof no}, {CKA_WRAP, &yes, sizeof yes}, {CKA_VALUE_LEN, &len, sizeof len}};
	CK_OBJECT_HANDLE wrapper;
	unsigned char out[4096];
	CK_ULONG n = sizeof out;
	must("C_GenerateKey", p11->C_GenerateKey(s, &generate, kek, 3, &wrapper));
	return p11->C_WrapKey(s, &wrapping, wrapper, key, out, &n);
}

int main(int argc, char **argv) {
	if (argc != 5) {
		fprintf(stderr, "usage: tryexport MODULE TOKEN-LABEL KEY-LABEL PIN-FILE\n");
		return 2;
	}
	void *lib = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	CK_RV (*list)(CK_FUNCTION_LIST_PTR_PTR) = NULL;
	if (lib != NULL)
		*(void **)&list = dlsym(lib, "C_GetFunctionList");
	if (list == NULL) {
		fprintf(stderr, "tryexport: %s\n", dlerror());
		return 2;
	}
	must("C_GetFunctionList", list(&p11));
	must("C_Initialize", p11->C_Initialize(NULL_PTR));
	CK_SESSION_HANDLE s;
	must("C_OpenSession", p11->C_OpenSession(find_token(argv[2]), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL_PTR, NULL_PTR, &s));
	login(s, argv[4]);
	CK_OBJECT_HANDLE key = find_key(s, argv[3]);
	answer("read the secret value", read_value(s, key));
	answer("make the key extractable", make_extractable(s, key));
	answer("wrap it under another key", wrap(s, key));
	p11->C_Finalize(NULL_PTR);
	return given;
}
