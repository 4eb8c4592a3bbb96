// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

// The control file of the fault module: one struct control, mapped by every
// process that has the module loaded and by the test that steers it. All
// numbers are 64-bit and touched with atomic operations only, so no process
// can leave a lock behind when it is killed. control.go is the same in Go.

#ifndef FAULTP11_H
#define FAULTP11_H

#include <stdatomic.h>
#include <stdint.h>

#define FAULTP11_MAGIC UINT64_C(0x313170746c756166) // "faultp11", little-endian
#define FAULTP11_VERSION 2

// The functions that are counted and can fail. All others of the real module
// are handed on as they are.
#define FAULTP11_FUNCTIONS(X) \
	X(C_Initialize) X(C_Finalize) X(C_GetInfo) X(C_GetSlotList) X(C_GetSlotInfo) X(C_GetTokenInfo) \
	X(C_GetMechanismList) X(C_GetMechanismInfo) X(C_InitToken) X(C_InitPIN) X(C_SetPIN) \
	X(C_OpenSession) X(C_CloseSession) X(C_CloseAllSessions) X(C_GetSessionInfo) X(C_Login) X(C_Logout) \
	X(C_CreateObject) X(C_CopyObject) X(C_DestroyObject) X(C_GetAttributeValue) X(C_SetAttributeValue) \
	X(C_FindObjectsInit) X(C_FindObjects) X(C_FindObjectsFinal) \
	X(C_SignInit) X(C_Sign) X(C_SignUpdate) X(C_SignFinal) X(C_GenerateKeyPair) X(C_GenerateRandom)

// A call that only asks how long the signature will be is a function of its own.
enum function {
#define X(name) F_##name,
	FAULTP11_FUNCTIONS(X)
#undef X
	F_C_Sign_NULL,
	F_C_SignFinal_NULL,
	FUNCTIONS
};

// A rule is one word, so that it is changed and used up in one step: the code
// (or, of DELAY, microseconds) in bits 0 to 31, the mode in 32 to 39, how many
// calls are left to hit in 40 to 51 (all ones: for ever), and how many to let
// pass before in 52 to 63.
#define RULE_CODE(w) ((w) & 0xffffffff)
#define RULE_MODE(w) ((enum mode)((w) >> 32 & 0xff))
#define RULE_LEFT(w) ((w) >> 40 & 0xfff)
#define RULE_SKIP(w) ((w) >> 52)
#define RULE_ONE_LEFT (UINT64_C(1) << 40)
#define RULE_ONE_SKIP (UINT64_C(1) << 52)
#define RULE_FOR_EVER 0xfff

enum mode {
	NONE,
	FAIL,          // return the code; an operation that the standard ends then is ended
	FAIL_ACTIVE,   // return the code and leave the operation active
	LOSE_ANSWER,   // do it, then return the code
	DELAY,         // wait, then do it
	HANG,          // wait for the next release, then do it
	LOSE_SESSIONS, // close all sessions, then do it
	FLIP,          // do it and spoil one bit of the signature
	FORGET,        // return CKR_OK for something that is not done
	KILL,          // kill -9 the process
	KILL_AFTER,    // do it, then kill -9 the process
};

typedef _Atomic uint64_t word;

struct counted {
	char name[32]; // filled in by the controller, compared by the module
	word calls;
	word hits;       // calls that met a rule
	word inside;     // calls inside now
	word inside_max; // the most there were
	word rule;
	word delay; // nanoseconds, of every call
};

// A refusal of an attribute in the template of an object of a class.
struct refusal {
	word class;     // CKO_, or ANY_CLASS
	word attribute; // CKA_
	word code;      // CKR_
	word only_true; // not where the value is CK_FALSE
};
#define ANY_CLASS UINT64_MAX

#define MAX_HIDDEN 64
#define MAX_REFUSED 32

struct control {
	uint64_t magic;
	uint64_t version;
	uint64_t size;
	char module[4096]; // path of the real module
	char variable[64]; // an environment variable that it alone sees; empty for none
	char value[4096];  // and its value

	word owner; // pid that is never killed
	word total; // calls of all functions
	word kill;  // calls until the caller is killed; 0 for never
	word late;  // after that call, not before

	word delay;    // nanoseconds, of every call
	word parallel; // calls the token works on at once; 0 for no limit
	word release;  // goes up when hanging calls may go on
	word hanging;  // calls that hang now

	word lose;            // goes up when all sessions are lost
	word uninitialise;    // goes up when C_Initialize is forgotten
	word disconnect;      // goes up when the connection is lost
	word disconnect_code; // what every call returns then
	word removed;         // the token is out of its slot

	word max_sessions;    // 0 for what the module says
	word max_rw_sessions; // likewise
	word sessions;        // open now
	word sessions_max;    // the most that were

	word pin_flags; // OR-ed into CK_TOKEN_INFO
	word pin_tries; // wrong user PINs until it is locked; 0 for what the module does
	word pin_left;

	word finalized_inside; // C_Finalize with another call inside
	word shared_session;   // two calls in one session at once

	word hidden; // how many of the following are valid
	word hidden_mechanism[MAX_HIDDEN];
	word refused; // likewise
	struct refusal refusal[MAX_REFUSED];

	struct counted function[FUNCTIONS];
};

#endif
